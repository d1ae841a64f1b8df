from sources.inbox import MAX_LOST, Inbox, Message, StreamChange, Unread, size


def message(rx, value=1.0):
    return Message(rx, "/a", value)


def test_items_leave_in_their_order():
    inbox = Inbox("osc")
    inbox.put([message(1.0), Unread(2.0, "osc", "peer", b"x")])
    inbox.put([message(3.0)])

    assert [item.rx for item in inbox.take()] == [1.0, 2.0, 3.0]
    assert inbox.take() == []
    assert (inbox.received, inbox.newest) == (3, 3.0)


def test_a_full_inbox_drops_the_newest_and_counts_its_numbers():
    inbox = Inbox("osc", room=4)
    inbox.put([message(1.0), message(2.0, (1.0, 2.0, 3.0)), message(3.0, (1.0, 2.0)), message(4.0)])

    *kept, lost = inbox.take()
    assert [item.rx for item in kept] == [1.0, 2.0]
    assert (lost.reason, lost.events) == ("inbox_full", 3)
    assert sum(map(size, kept)) + lost.events == inbox.received


def test_there_is_room_again_once_the_flow_has_taken():
    inbox = Inbox("osc", room=2)
    inbox.put([message(1.0), message(2.0)])
    inbox.take()
    inbox.put([message(3.0)])

    assert [item.rx for item in inbox.take()] == [3.0]
    assert inbox.dropped == 0


def test_events_lost_before_they_were_received_are_counted_once():
    inbox = Inbox("osc")
    inbox.lose(5)
    inbox.lose(2)

    assert [(x.reason, x.events) for x in inbox.take()] == [("kernel_full", 7)]
    assert inbox.take() == []


def test_more_losses_than_one_refusal_holds_are_in_several():
    inbox = Inbox("osc")
    inbox.lose(2 * MAX_LOST + 5)

    assert [x.events for x in inbox.take()] == [MAX_LOST, MAX_LOST, 5]


def test_the_first_state_of_a_stream_and_each_change_are_items():
    inbox = Inbox("midi")
    for up, why in ((False, "no port"), (False, "still none"), (True, "LPK25"), (True, "LPK25")):
        inbox.turn(up, why)

    changes = [(x.up, x.why) for x in inbox.take() if isinstance(x, StreamChange)]
    assert changes == [(False, "no port"), (True, "LPK25")]
    assert (inbox.up, inbox.why) == (True, "LPK25")
