"""Every bad configuration is refused at once, in its place, with the expected value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fault.refused import BASE, HERE, faults, marked

pytestmark = pytest.mark.usefixtures("run_folder")


MIDI = "{name: m, type: midi, device: 'Keys 20:0'}"


OSC = '{name: o, type: osc, addr: "127.0.0.1:9000"}'


URE = '{name: u, type: ure, metrics_url: "http://127.0.0.1:9305/metrics_ure"}'


BOMB = "".join(
    f"l{i}: {HERE if i == 0 else ''}&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" if i else
    f"l0: {HERE}&a0 [lol]\n"
    for i in range(9)
)  # fmt: skip


def send(rest: str) -> str:
    """Return an OSC destination of which `rest` is given."""
    return f'send:\n  - {{name: m, type: osc, to: "127.0.0.1:9001", {rest}}}'


def sent_to(to: str) -> str:
    """Return a destination to be refused."""
    return f"send: [{{name: m, type: osc, to: {to}, map: {{/x: pulse}}}}]"


def live(stream: str, rest: str, member: str) -> str:
    """Return a configuration of one live stream."""
    signals = f'{{p: {{members: {{"{member}": {{}}}}}}}}'
    return f"!version: 2\nstreams: [{stream}]\nsignals: {signals}\n{rest}"


# name: (the text after BASE, or the whole file when it begins with "!"; a part of the fault)
BAD = {
    "hindsight live": (
        BASE.replace("{name: demo, type: file, path: demo.ndjson}", OSC).replace("a:x", "o:x")
        .replace('"b:y"', '"o:y"') + f"mode: {HERE}hindsight",
        "with the live stream 'o', expected recordings only",
    ),
    "hindsight while it grows": (
        BASE.replace("ndjson}", f"ndjson, follow: {HERE}true}}") + "mode: hindsight",
        "'follow' in mode 'hindsight', expected false",
    ),
    "hindsight at a speed": (
        BASE.replace("ndjson}", f"ndjson, speed: {HERE}2}}") + "mode: hindsight",
        "at speed 2 in mode 'hindsight', expected 0",
    ),
    "hindsight of a tape": (
        BASE.replace("demo.ndjson", f"{HERE}tape") + "mode: hindsight",
        "tape is a tape, expected a file in mode 'hindsight'",
    ),
    "an unknown mode": (f"mode: {HERE}foresight", "expected one of causal, hindsight"),
    "an empty file": (f"!{HERE}", "is empty, expected a configuration"),
    "a list": (f"!{HERE}- a", "is a list, expected a configuration"),
    "a text": (f"!{HERE}hello", "is the text 'hello', expected a configuration"),
    "a scanner error": (f"rig: 'a\n{HERE}", "this is not YAML"),
    "a bad indent": (f"rig: a\n  max_rigs{HERE}: 3", "mapping values are not allowed"),
    "a tab": (f"align:\n{HERE}\twindow_s: 3", "this is not YAML"),
    "a control character": (f"rig: a{HERE}\x07", "control character U+0007"),
    "a NUL": (f"rig: {HERE}\x00", "control character U+0000"),
    "a second document": (f"{HERE}---\nrig: a", "a second document"),
    "a nest of brackets": (f"rig: {'[' * 32}{HERE}{'[' * 50_000}", "nested too deeply"),
    "a nest of dashes": (f"rig:\n  {'- ' * 32}{HERE}{'- ' * 600}1", "nested too deeply"),
    "a nest of keys": (f"rig: {'{a: ' * 32}{HERE}{'{a: ' * 600}", "nested too deeply"),
    "an alias bomb": (BOMB, "anchor &a0, expected none"),
    "a scale that is no member": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        f'signals: {{pulse: {{scale: {HERE}"a:z", members: {{"a:x": {{}}, "b:y": {{}}}}}}}}',
        "the scale 'a:z' is no member of signals.pulse (did you mean 'a:x'?), expected consensus",
    ),
    "nobody to learn from": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        'channels: {"*": {gain: auto}}\n'
        f'signals: {{{HERE}pulse: {{members: {{"a:x": {{}}, "b:y": {{}}}}}}}}',
        "every member of 'pulse' has gain or offset auto, expected one to learn from",
    ),
    "a learnt reference": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        'channels: {"a:x": {gain: auto}}\n'
        f'signals: {{pulse: {{reference: {HERE}"a:x", members: {{"a:x": {{}}, "b:y": {{}}}}}}}}',
        "the reference 'a:x' has gain or offset auto, expected another member or a gain",
    ),
    "a learnt scale": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        'channels: {"a:x": {offset: auto}}\n'
        f'signals: {{pulse: {{scale: {HERE}"a:x", members: {{"a:x": {{}}, "b:y": {{}}}}}}}}',
        "the scale 'a:x' has gain or offset auto, expected another member or a gain",
    ),
    "a learnt channel that no signal has": (
        f'channels: {{"c:z": {{gain: {HERE}auto}}}}', "'c:z' is learnt and no member",
    ),
    "a learnt fact": (
        f'facts: ["c:z"]\nchannels: {{"*:z": {{gain: {HERE}auto}}}}', "the fact 'c:z' is learnt",
    ),
    "a learnt held channel": (
        f'channels: {{"b:y": {{kind: held, gain: {HERE}auto}}}}',
        "the held channel 'b:y' is learnt, expected a gain for it",
    ),
    "a gain that is neither": (
        f'channels: {{"b:y": {{gain: {HERE}big}}}}', "channels[\"b:y\"].gain",
    ),
    "a systematic sd of nothing": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        f'signals: {{pulse: {{members: {{"a:x": {{sd: {HERE}0}}, "b:y": {{}}}}}}}}', "expected",
    ),
    "an alias": (f"rig: {HERE}*name", "alias *name, expected the value written out"),
    "an anchor": (f"rig: {HERE}&name a", "anchor &name"),
    "a merge key": (f"drift:\n  {HERE}<<: {{a: 1}}", "merge key <<"),
    "a standard tag": (f"rig: {HERE}!!str 5", "tag !!str, expected none"),
    "a Python tag": (f"rig: {HERE}!!python/object/apply:os.system [ls]", "tag !!python/object"),
    "a private tag": (f"rig: {HERE}!secret a", "tag !secret, expected none"),
    "a key twice": (f"rig: a\n{HERE}rig: b", "'rig' is here twice, expected once: first at 4:1"),
    "an inner key twice": (f"align: {{hop_s: 1, {HERE}hop_s: 2}}", "first at 4:9"),
    "a list as key": (f"channels: {{{HERE}[a, b]: {{}}}}", "a key that is no plain text"),
    "NaN": (f"align: {{window_s: {HERE}.nan}}", ".nan, expected a finite number"),
    "infinity": (f"align: {{window_s: {HERE}-.inf}}", "-.inf, expected a finite number"),
    "an overflow": (f"align: {{window_s: {HERE}1e999}}", "too large to hold"),
    "a variable that is not set": (f"rig: {HERE}${{LUMEN_NOT_SET}}", "LUMEN_NOT_SET is not set"),
    "a variable without a name": (f"rig: {HERE}${{1x}}", "expected ${NAME}"),
    "a variable in a key": (f'channels: {{{HERE}"${{A}}:b": {{}}}}', "in a key"),
    "an unknown section": (f"{HERE}algin: {{}}", "'algin' (did you mean 'align'?)"),
    "an unknown key": (f"align: {{{HERE}windw_s: 3}}", "in align (did you mean 'window_s'?)"),
    "a nested unknown key": (f"align: {{kalman: {{{HERE}z: 1}}}}", "align.kalman, expected one of"),
    "a key of another station": (f"drift: {{{HERE}window_s: 3}}", "unknown key 'window_s'"),
    "text for a number": (f"align: {{window_s: {HERE}long}}", "'long', expected a number > 0"),
    "a quoted number": (f'align: {{window_s: {HERE}"60"}}', "is the text '60', expected a number"),
    "sexagesimal time": (f"align: {{window_s: {HERE}1:30}}", "is the text '1:30'"),
    "a negative duration": (f"drift: {{max_disorder_s: {HERE}-1}}", "is -1, expected a num"),
    "a number for a name": (f"rig: {HERE}5", "is 5, expected text that is not empty (in q"),
    "an empty name": (f'rig: {HERE}""', "rig is the text ''"),
    "a switch for a number": (f"max_rigs: {HERE}true", "max_rigs is true, expected a whole number"),
    "a word for a switch": (f"output: {{aligned: {HERE}on}}", "'on', expected true or false"),
    "half a rig": (f"max_rigs: {HERE}1.5", "max_rigs is 1.5, expected a whole number"),
    "more rigs than there may be": (f"max_rigs: {HERE}50000", ">= 1 and <= 16384"),
    "an empty section": (f"align:{HERE}", "align is empty, expected a mapping"),
    "a list for a section": (f"align: {HERE}[1]", "align is a list, expected a mapping"),
    "an unknown method": (f"align: {{method: {HERE}magic}}", "'magic', expected xcorr_kalman"),
    "an unknown profile": (f"resample: {{profile: {HERE}fast}}", "one of accurate, low_latency"),
    "an unknown fallback": (f"failover: {{fallback: {HERE}ure}}", "one of ure_only, sensors_only"),
    "no streams to fall back on": (f"failover: {{min_streams: {HERE}0}}", "a whole number >= 1"),
    "neither auto nor a number": (f"align: {{kalman: {{r: {HERE}high}}}}", "auto or a number > 0"),
    "an old version": (f"!{HERE}version: 1.9\nloop: {{tick_ms: 200}}", "of version 1.9"),
    "an old key": (f"!version: 1.9\nloop: {{{HERE}tick_ms: 200}}", "expected resample.target_hz"),
    "a future version": (BASE.replace("version: 2", f"!version: {HERE}3"), "is 3, expected 2"),
    "no version": (BASE.replace("version: 2\n", f"!{HERE}"), "'version' is missing"),
    "no signals": (f"!{HERE}version: 2\n{BASE.splitlines()[1]}", "'signals' is missing"),
    "no members": (BASE.replace('{"a:x": {group: ure}, "b:y": {}}', f"{HERE}{{}}"), "not empty"),
    "an unknown group": (BASE.replace("ure}", f"{HERE}urea}}"), "one of ure, sensors"),
    "a stream without a type": (
        BASE.replace("{name: demo, type: file,", f"{HERE}{{name: demo,"), "'type' is missing"
    ),
    "a stream of no known type": (
        BASE.replace("type: file", f"type: {HERE}fil"), "(did you mean 'file'?), expected one of"
    ),
    "a stream of which the name is missing": (
        BASE.replace("{name: demo, ", f"{HERE}{{"), "'name' is missing in streams[0]"
    ),
    "two streams of one name": (
        BASE.replace("}]", f"}}, {{name: {HERE}demo, type: file, path: demo.ndjson}}]"),
        "a second stream called 'demo'",
    ),
    "a MIDI device that is no name": (
        BASE.replace("}]", f"}}, {{name: m, type: midi, device: {HERE}4}}]"), "device is 4"
    ),
    "a MIDI device without a name": (
        BASE.replace("}]", f"}}, {{name: m, type: midi, device: {HERE}''}}]"), "not empty"
    ),
    "metrics in the place of another page": (
        f"exporter: {{path: {HERE}/healthz}}", "is that of another page"
    ),
    "metrics under a question": (
        f"exporter: {{path: {HERE}/metrics?all}}", "a path such as /metrics"
    ),
    "an exporter's bad network": (
        f"exporter: {{allow: [10.0.0.0/8, {HERE}10.0.0.0/99]}}",
        "the network '10.0.0.0/99', expected an IP address or a network",
    ),
    "an exporter's missing token file": (
        f"exporter: {{token_file: {HERE}nowhere}}",
        "the token file nowhere cannot be read (No such file or directory), expected a file",
    ),
    "an exporter's token for all to read": (
        f"exporter: {{token_file: {HERE}demo.ndjson}}", "may be read by others",
    ),
    "an exporter's limit of nothing": (f"exporter: {{max_qps: {HERE}0}}", ">= 0.1"),
    "an exporter's bad port": (f"exporter: {{http_port: {HERE}99999}}", "<= 65535"),
    "a recording faster than the live streams beside it": (
        BASE.replace("type: file", f"type: file, speed: {HERE}2").replace("}]", f"}}, {OSC}]"),
        "at speed 2, expected 1",
    ),
    "a growing recording beside live streams": (
        BASE.replace("type: file", f"type: file, follow: {HERE}true").replace("}]", f"}}, {OSC}]"),
        "'follow' beside live streams",
    ),
    "a tap where nothing is live": (f"{HERE}tap: {{dir: tap}}", "'tap' without a live stream"),
    "a tap that is a file": (
        BASE.replace("}]", f'}}, {OSC}]') + f"tap: {{dir: {HERE}demo.ndjson}}", "is a file"
    ),
    "a tape packed twice": (
        BASE.replace("}]", f"}}, {OSC}]")
        + f"tap: {{dir: tapes, {HERE}zstd: true, format: parquet}}",
        "'zstd' beside format: parquet, expected one of them",
    ),
    "a tape in a form that is none": (
        BASE.replace("}]", f"}}, {OSC}]") + f"tap: {{dir: tapes, format: {HERE}csv}}",
        "expected",
    ),
    "an address without a port": (
        BASE.replace("}]", f'}}, {OSC}]').replace('"127.0.0.1:9000"', f"{HERE}127.0.0.1"),
        "expected a port from 1 to 65535 or an address such as",
    ),
    "an address with a port that is none": (
        BASE.replace("}]", f'}}, {OSC}]').replace('"127.0.0.1:9000"', f'{HERE}"127.0.0.1:70000"'),
        "expected a port from 1 to 65535",
    ),
    "two streams on one MIDI device": (
        BASE.replace("}]", f"}}, {MIDI}, {{name: n, type: midi, device: {HERE}Keys}}]"),
        "the device 'Keys' is that of stream 'm', expected one of its own: the second port of "
        "that name is 'Keys#2'",
    ),
    "two streams on one MIDI device, with ALSA's number and with a place": (
        BASE.replace("}]", f"}}, {MIDI}, {{name: n, type: midi, device: {HERE}'Keys#1'}}]"),
        "is that of stream 'm'",
    ),
    "two virtual MIDI ports of one name": (
        BASE.replace(
            "}]",
            "}, {name: m, type: midi, device: in, virtual: true}, "
            f"{{name: n, type: midi, device: {HERE}in, virtual: true}}]",
        ),
        "the device 'in' is that of stream 'm', expected one of its own",
    ),
    "two streams on one port": (
        BASE.replace(
            "}]", f'}}, {OSC}, {{name: p, type: osc, addr: {HERE}"127.0.0.1:9000"}}]'
        ),
        "is that of stream 'o'",
    ),
    "a peer that is no address": (
        BASE.replace("}]", f'}}, {OSC.replace("}", f", allow: [{HERE}phone]}}")}]'),
        "the peer 'phone', expected an IP address",
    ),
    "a page that is had by no HTTP": (
        BASE.replace("}]", f'}}, {URE}]').replace('"http:', HERE + '"ftp:'),
        "expected a page such as http://127.0.0.1:9100/metrics or https://...",
    ),
    "a page without http": (
        BASE.replace("}]", f'}}, {URE}]').replace('"http://', HERE + '"'),
        "is the text '127.0.0.1:9305/metrics_ure', expected a page such as http://",
    ),
    "a password that is in no file": (
        BASE.replace("}]", f'}}, {URE}]').replace(
            "metrics_ure\"", f"m\", basic_auth: {{username: me, password_file: {HERE}no.txt}}"
        ),
        "no.txt does not exist, expected a file",
    ),
    "a password beside a token": (
        BASE.replace("}]", f'}}, {URE}]').replace(
            "metrics_ure\"", "m\", basic_auth: {username: me, password_file: demo.ndjson},"
            f" {HERE}bearer_token_file: demo.ndjson"
        ),
        "'bearer_token_file' beside 'basic_auth', expected one of the two",
    ),
    "a page with a password": (
        BASE.replace("}]", f'}}, {URE}]').replace('"http://', HERE + '"http://me:secret@'),
        "'http://***@127.0.0.1:9305/metrics_ure', expected a page such as http://",
    ),
    "a page's address with a space": (
        BASE.replace("}]", f'}}, {URE}]').replace('"http://', HERE + '"http:// '),
        "expected a page such as http://",
    ),
    "a page at a port that is none": (
        BASE.replace("}]", f'}}, {URE}]').replace('"http://127.0.0.1:9305', HERE + '"http://u:0'),
        "expected a host, and a port from 1 to 65535",
    ),
    "a page at an address that is none": (
        BASE.replace("}]", f'}}, {URE}]').replace('"http://127.0.0.1:', HERE + '"http://[1::2::3]:'),
        "expected a host, and a port",
    ),
    "a pull that outlasts the beat": (
        BASE.replace("}]", f'}}, {URE.replace("}", f", timeout_s: {HERE}2.5}}")}]'),
        "timeout_s is 2.5, expected at most pull_interval_s (2)",
    ),
    "a beat that is shorter than a pull by itself may last": (
        BASE.replace("}]", f'}}, {HERE}{URE.replace("}", ", pull_interval_s: 0.5}")}]'),
        "timeout_s is 1, expected at most pull_interval_s (0.5)",
    ),
    "a beat too fast": (
        BASE.replace("}]", f'}}, {URE.replace("}", f", pull_interval_s: {HERE}0.01}}")}]'),
        "expected a number >= 0.1",
    ),
    "a destination without a map": (
        f'send: [{HERE}{{name: m, type: osc, to: "127.0.0.1:9001"}}]', "'map' is missing in send[0]"
    ),
    "an empty map": (send(f"map: {HERE}{{}}"), "nothing to send, expected at least one address"),
    "a destination of no known type": (
        f"send: [{{name: m, type: {HERE}udp, to: x, map: {{/x: pulse}}}}]",
        "one of kafka, lsl, midi, mqtt, osc",
    ),
    "two destinations of one name": (
        send("map: {/x: pulse}") + f'''
  - {{name: {HERE}m, type: midi, to: synth, map: {{cc/1/1: pulse}}}}''',
        "a second destination called 'm'",
    ),
    "a destination's bad port": (
        f'send: [{{name: m, type: osc, to: {HERE}"127.0.0.1:99999", map: {{/x: pulse}}}}]',
        "expected a port from 1 to 65535",
    ),
    "an address that is none": (send(f"map: {{{HERE}x: pulse}}"), "the address 'x', expected one"),
    "an address that is a pattern": (send(f'map: {{{HERE}"/x/*": pulse}}'), "without #*,?[]{}"),
    "a controller that is none": (
        f"send: [{{name: m, type: midi, to: synth, map: {{{HERE}cc/1/128: pulse}}}}]",
        "'cc/1/128', expected note/1/60",
    ),
    "a length of no note": (
        f"send: [{{name: m, type: midi, to: synth, map: {{{HERE}cc/1/1/length: pulse}}}}]",
        "'cc/1/1/length', expected note/1/60",
    ),
    "a length of a note that is not played": (
        f"send: [{{name: m, type: midi, to: synth, map: {{{HERE}note/1/60/length: pulse}}}}]",
        "expected 'note/1/60' beside it",
    ),
    "an unknown name to send": (
        send(f'map: {{/x: "127*(1-{HERE}entropy)"}}'), "did you mean 'entropy_ratio'?"
    ),
    "a condition to send": (
        send(f'map: {{/x: "{HERE}pulse > 1"}}'), "expected a number, not a condition"
    ),
    "a number to send": (send(f"map: {{/x: {HERE}1}}"), "is 1, expected text (in quotes)"),
    "too many destinations": (
        f"send: {HERE}[" + "{name: m, type: midi, to: s, map: {cc/1/1: pulse}}," * 65 + "]",
        "65 destinations, expected at most 64",
    ),
    "an address of this run's own stream": (
        BASE.replace("}]", f"}}, {OSC}]") + sent_to(f'{HERE}"127.0.0.1:9000"'),
        "'127.0.0.1:9000' is the address of stream 'o', expected another destination, or loop",
    ),
    "this run by another name": (
        BASE.replace("}]", f"}}, {OSC}]") + sent_to(f'{HERE}"localhost:9000"'), "stream 'o'"
    ),
    "this machine where all its addresses are a stream's": (
        BASE.replace("}]", f"}}, {OSC}]").replace("127.0.0.1", "0.0.0.0")
        + sent_to(f'{HERE}"127.0.0.2:9000"'),
        "stream 'o'",
    ),
    "the MIDI port of a stream": (
        BASE.replace("}]", '}, {name: k, type: midi, device: "LPK25 MIDI 1 20:0"}]')
        + f"send: [{{name: m, type: midi, to: {HERE}LPK25, map: {{cc/1/1: pulse}}}}]",
        "'LPK25' is the address of stream 'k'",
    ),
    "a recording that is not there": (
        BASE.replace("demo.ndjson", f"{HERE}gone.ndjson"), "gone.ndjson does not exist"
    ),
    "a folder for a recording": (
        BASE.replace("demo.ndjson", f"{HERE}rules"), "rules is not a file, expected a file"
    ),
    "a rule file that is not there": (
        f"evidence: {{rules: [{HERE}no.yaml]}}", "no.yaml does not exist"
    ),
    "a member later than is waited for": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        "align: {wait_lag_s: 0.5}\n"
        f'signals: {{p: {{members: {{"a:x": {{}}, "b:y": {{lag_s: {HERE}0.7}}}}}}}}',
        "no tick waits for more than 0.5 s: it would never have a weight, expected"
        " align.wait_lag_s of at least 0.7",
    ),
    "a late member at low latency": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        "resample: {profile: low_latency}\n"
        f'signals: {{p: {{members: {{"a:x": {{}}, "b:y": {{lag_s: {HERE}0.01}}}}}}}}',
        "the lag of 'b:y' is 0.01 s, and no tick waits for more than 0 s",
    ),
    "a fallback to nobody": (
        "!version: 2\nstreams: [{name: demo, type: file, path: demo.ndjson}]\n"
        f"failover: {{fallback: {HERE}ure_only}}\n"
        'signals: {p: {members: {"a:x": {}, "b:y": {}}}}',
        "the fallback 'ure_only', and no signal has a member of group ure, expected sensors_only or"
        " degrade",
    ),
    "a fact that is no address": (
        live(OSC, f'facts: [{HERE}"o:level"]', "o:/x"),
        "no stream has the fact 'o:level', expected an address: 'o:/level'",
    ),
    "a member that is no address": (
        live(OSC, "", "o:/x").replace('{"o:/x"', f'{{{HERE}"o:x": {{}}, "o:/x"'),
        "no stream has the member 'o:x', expected an address: 'o:/x'",
    ),
    "a fact that keys leave out": (
        live(OSC.replace("}", ", keys: [/acc/*, /x]}"), f'facts: [{HERE}"o:/Acc/1"]', "o:/x"),
        "the fact 'o:/Acc/1', expected one of /acc/*, /x of the stream's keys (did you mean"
        " '/acc/*'?), or '/Acc/1' among them",
    ),
    "a fact that is no message": (
        live(MIDI, f'facts: [{HERE}"m:cc/17/1"]', "m:cc/1/1"),
        "no stream has the fact 'm:cc/17/1', expected note/1/60, cc/1/74",
    ),
    "a fact of a pair that is not made": (
        live(MIDI, f'facts: [{HERE}"m:cc14/1/7"]', "m:cc/1/1"),
        "expected 'pair: true' on the stream 'm'",
    ),
    "a fact that is no series": (
        live(URE, f'facts: [{HERE}"u:some-metric"]', "u:up"),
        "no stream has the fact 'u:some-metric', expected a series such as u:up",
    ),
    "a fact with labels out of order": (
        live(URE, f"facts: [{HERE}'u:cpu{{mode=\"idle\", cpu=\"0\"}}']", "u:up"),
        "expected 'u:cpu{cpu=\"0\",mode=\"idle\"}', as its labels are sorted",
    ),
    "a fact that a page's keys leave out": (
        live(URE.replace("}", ", keys: [up]}"), f'facts: [{HERE}"u:down"]', "u:up"),
        "expected one of up of the stream's keys, or 'down' among them",
    ),
    "a store among the results": (
        f'output: {{dir: out}}\nstore: {{dsn: {HERE}"sqlite:out/a/h.sqlite"}}',
        "the store lies in output.dir, expected another folder",
    ),
    "a store without a kind": (f"store: {{dsn: {HERE}h.sqlite}}", "expected sqlite:PATH or "),
    "a store that keeps nothing": (
        f'store: {{dsn: "sqlite:h", keep_d: {HERE}0}}', "is 0, expected a number > 0",
    ),
    "a file for a folder": (f"output: {{dir: {HERE}demo.ndjson}}", "is a file, expected a folder"),
    "a member of no live stream": (
        '!version: 2\nstreams: [{name: osc_1, type: osc, addr: "127.0.0.1:9000"}]\n'
        f'signals: {{pulse: {{members: {{{HERE}"osc_2:/x": {{}}}}}}}}',
        "'osc_2' is no stream (did you mean 'osc_1'?), expected one of osc_1",
    ),
    "a rig that leaves its folder": (f"rig: {HERE}../etc", "expected a name for a folder"),
    "a reference that is no member": (
        BASE.replace("pulse: {", f'pulse: {{reference: {HERE}"a:z", '), "(did you mean 'a:x'?)"
    ),
    "a member without a source": (BASE.replace('"b:y"', f"{HERE}y"), "expected <source>:<key>"),
    "a live member that is a pattern": (
        f"version: 2\nstreams: [{OSC}]\nsignals: {{pulse: {{members: {{{HERE}\"o:*\": {{}}}}}}}}\n",
        "is a pattern",
    ),
    "a fact without a key": (f'facts: [{HERE}"ure:"]', "the fact 'ure:', expected <source>:<key>"),
    "a fact twice": (f'facts: ["u:f", {HERE}"u:f"]', "is here twice, expected once"),
    "a fact that is a member": (f'facts: [{HERE}"a:x"]', "is a member of 'pulse'"),
    "a channel that is neither name nor pattern": (
        f"channels: {{{HERE}velocity: {{}}}}", "expected <source>:<key> or a pattern"
    ),
    "a range the wrong way round": (
        f'channels: {{"a:x": {{range: {HERE}[1, 0]}}}}', "[1, 0] is empty, expected low < high"
    ),
    "a range of three": (
        f'channels: {{"a:x": {{range: {HERE}[1, 2, 3]}}}}', "expected a list of 2 values"
    ),
    "a signal that no rule could name": (
        BASE.replace("pulse", f"{HERE}my-pulse"), "expected letters, digits and _"
    ),
    "a signal that is an indicator": (BASE.replace("pulse", f"{HERE}harmony"), "and none of"),
    "indicators of no signal": (
        f"quality: {{signal: {HERE}plse}}", "(did you mean 'pulse'?), expected one of pulse"
    ),
    "a band the wrong way round": (f"quality: {{band_hz: {HERE}[1, 0.5]}}", "0 <= low < high"),
    "a band beyond Nyquist": (f"quality: {{band_hz: {HERE}[0.1, 3]}}", "<= 2.5"),
    "weights of nothing": (f"weights: {HERE}{{ure: 0, sensors: 0}}", "both weights are 0"),
    "a signal without weight": (
        "weights: {ure: 0}\n" + BASE.replace("pulse", f"{HERE}pulse").replace(', "b:y": {}', ""),
        "group ure only, whose weight is 0",
    ),
    "hops that skip data": (f"align: {{hop_s: {HERE}40}}", "at most half of window_s (60)"),
    "a window of less than two segments": (f"quality: {{window_s: {HERE}20}}", "at least 25.6"),
    "lags beyond the window": (f"align: {{max_lag_s: {HERE}30}}", "than half of window_s (60)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_config_is_refused_in_its_place(name: str) -> None:
    text, expected = BAD[name]
    whole = text[1:] if text.startswith("!") else text
    if not text.startswith("!") and "signals:" not in text:
        whole = BASE + text
    clean, line, col = marked(whole.replace("!version", "version"))
    Path("bad.yaml").write_text(clean, "utf-8")

    found = faults("bad.yaml")

    there = [fault for fault in found if fault.startswith(f"bad.yaml:{line}:{col}: ")]
    assert any(expected in fault for fault in there), found
    assert all(re.match(r"bad\.yaml:\d+:\d+: \S", fault) for fault in found[:50])
