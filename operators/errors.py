"""The exceptions of the program, one tree.

::

    LumenError
    ├── ConfigError                 faults of a configuration (configs.document)
    ├── InUseError                  a port, folder or tape that is taken or unusable
    │   ├── FolderError             an output folder (sinks.files.folder)
    │   ├── StoreError              a recovery store (flows.store)
    │   ├── TapError                the folder of a tap or tape (sources.tape.writer)
    │   ├── HistoryError            the history (sinks.history.back_end)
    │   │   └── NoStoreError        one that is not made yet
    │   ├── SecurityFileError       the file of access to a Kafka cluster (configs.kafka_cluster)
    │   ├── HttpPortError           the port of the exporter (sinks.exporter.server)
    │   ├── TokenFileError          the token file of the exporter (configs.token_file)
    │   └── MidiPortError           a MIDI port; also OSError (sources.midi.port)
    ├── SourceError                 input that cannot be read
    │   ├── UnusableError           a recording; also ValueError (sources.recordings.recording)
    │   ├── TopicError              a topic (sources.kafka.faults)
    │   │   ├── OffsetGoneError     an offset that it does not have any more
    │   │   └── TopicAwayError      a broker that does not answer now
    │   ├── RecordingsError         all refused recordings of a start (sources.replay.replay)
    │   ├── LoadStoppedError        a stop during a load; also OSError (sources.xdf.xdf)
    │   ├── ThriftError             metadata of Parquet; also ValueError (sources.columnar.thrift)
    │   ├── DamagedError            Parquet; also ValueError (sources.columnar.parquet_file)
    │   ├── ConvertError            a recording to be converted (ops.cli.convert)
    │   ├── HeaderError             an XML header; also ValueError (sources.header.xml_header)
    │   ├── PageError               a page of metrics (sources.ure.exposition)
    │   ├── ChaosError              a fault that cannot be applied (ops.cli.chaos)
    │   ├── ProxyError              an address of `lumen chaos --proxy` (ops.chaos.proxy)
    │   ├── CutError                an MCAP file; also ValueError (sources.mcap.records)
    │   ├── InletError              an LSL stream; also OSError (sources.lsl.stream_inlet)
    │   ├── RefusedError            a JSON event; also ValueError (sources.events.json_event)
    │   ├── UnknownRigError         no such rig; also ValueError (sinks.exporter.api.history_pages)
    │   └── StoppedError            a stop during a request (sources.ure.http_get)
    ├── SecretError                 a file without a password or token (configs.secrets)
    ├── AwayError                   a history that does not answer now (sinks.history.back_end)
    ├── ClusterAwayError            brokers that do not answer now (sinks.kafka.producer)
    ├── QueryEndedError             a query beyond its limit (sinks.history.back_end)
    ├── QuestionError               a question to a history (sinks.history.questions)
    ├── StateRefusedError           a stored state; also ValueError (operators.snapshot)
    ├── ShortFileError              a file below its position; also ValueError (sinks.files.jsonl)
    ├── LinkError                   a link in place of a file; also OSError (configs.files)
    ├── ExpressionError             a condition; also ValueError (operators.conditions.expression)
    ├── ActionError                 an action of a rule; also ValueError (operators.bridge.actions)
    ├── SharedRigError              a rig in two partitions; also ValueError (operators.collect)
    ├── StationError                a bug in a station; also RuntimeError (operators.station)
    ├── FirstPassError              the first of two passes failed (flows.first_pass)
    ├── TopicStoppedError           a stop before a topic was there (sources.kafka.faults)
    ├── FirstPassStoppedError       a stop during the first of two passes (flows.first_pass)
    ├── ClusterError                a cluster that is not complete (flows.meeting)
    ├── ClusterStoppedError         a stop before it was complete (flows.meeting)
    ├── OtherRunError               processes with different configurations (flows.meeting)
    ├── RunFailedError              an error ended a run (flows.failure)
    └── ToolError                   a command or an external program (ops)
        ├── RunError                a child run of `lumen verify`; also RuntimeError
        ├── TuneError               a recording that cannot be tuned from (ops.tune)
        ├── ShadowError             a shadow or its candidate (ops.shadow.candidate)
        ├── QueryError              a question to a Prometheus (ops.gate.queries)
        ├── ReplacedError           a run that began anew while it was read (ops.shadow)
        ├── SnapshotError           a refused request on snapshots (ops.snapshots.faults)
        │   └── SnapshotFailedError a failed one
        ├── NoAnswerError           the exporter of another run
        ├── NoBridgeError           a run without a bridge, or no run (ops.cli.bridge)
        ├── PeerError               a missing program
        ├── StoreCallError          arguments of `lumen store` (ops.store)
        ├── ExportError             files of a history (ops.store.export)
        ├── ReloadError             a Prometheus server
        │   └── WrongError          its configuration or rules
        ├── ImageError              an image that cannot be built (ops.services.image)
        ├── ReleaseError            a release that is not made (ops.services.release)
        ├── RolloutError            a cluster that does not answer (ops.services.rollout)
        ├── InstallError            units of systemd that cannot be installed (ops.services.install)
        ├── AnnounceError           an Alertmanager server
        └── LoadError               a Grafana server

Libraries raise. Only entry points print `lines()` and exit with `exit_code`: the `lumen` command
and `flows.fusion.flow`, which `python -m bytewax.run` calls.
"""

from __future__ import annotations


class LumenError(Exception):
    """An error of this program.

    Attributes
    ----------
    exit_code : int
        Exit code of the process if nothing handles the error.
    """

    exit_code = 2

    def lines(self) -> list[str]:
        """Return the lines for standard error."""
        return [f"lumen: {self}"]


class InUseError(LumenError):
    """A port, folder or tape that another process uses, or that cannot be used."""


class SourceError(LumenError):
    """Input that cannot be read or continued."""


class ToolError(LumenError):
    """A failed command or external program."""
