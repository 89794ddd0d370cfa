use http_body::Body as _;

use super::*;
use crate::door::budget;
use crate::door::lobby::Lobby;

fn whole() -> Arc<Whole> {
    Whole::new(8 * LARGEST, Arc::new(Metrics::new(1, 0)))
}

#[test]
fn a_connection_has_a_share_and_all_have_a_bound() {
    let whole = whole();
    let connections: Vec<_> = (0..9).map(|_| Answers::of_connection(&whole)).collect();
    let greedy = &connections[0];
    let first = greedy.take(LARGEST).expect("room");
    let second = greedy.take(LARGEST).expect("a quarter is two of the largest");
    assert!(greedy.take(SMALL + 1).is_none() && greedy.take(usize::MAX).is_none());
    assert!(greedy.take(SMALL).is_some(), "small ones are not counted");
    let others: Vec<_> = connections[1..].iter().filter_map(|own| own.take(LARGEST)).collect();
    assert_eq!(others.len(), 6, "all together have no more than eight");
    drop(first);
    assert!(connections[8].take(LARGEST).is_some());
    drop((second, others));
    assert_eq!(whole.held.load(Ordering::Relaxed), 0);
    assert!(connections.iter().all(|own| own.held.load(Ordering::Relaxed) == 0));
    assert!(whole.metrics.encode().contains("stator_waiting_answers_bytes 0"));
}

#[test]
fn writes_are_answered_until_it_is_too_much() {
    let whole = whole();
    let own = Answers::of_connection(&whole);
    let mut held: Vec<_> = (0..4).map(|_| own.take_anyway(LARGEST)).collect();
    assert!(!own.is_too_much() && own.take(SMALL + 1).is_none());
    held.push(own.take_anyway(SMALL + 1));
    assert!(own.is_too_much());
    held.pop();
    assert!(!own.is_too_much());
}

/// Connections whose clients may be cut off.
fn guests<const N: usize>(whole: &Arc<Whole>) -> [Arc<Guest>; N] {
    let lobby = Lobby::new(N, whole.metrics.clone(), whole.clone());
    let read = budget::Whole::new(0, whole.metrics.clone());
    [(); N].map(|()| lobby.enter(budget::Budget::of_connection(&read)))
}

#[test]
fn who_reads_nothing_goes_when_room_is_short() {
    let whole = whole();
    let guests = guests::<3>(&whole);
    let cut = || guests.iter().map(|guest| guest.is_cut()).collect::<Vec<_>>();
    let mut held: Vec<_> = guests[..2]
        .iter()
        .flat_map(|guest| [(); 2].map(|()| guest.answers.take(LARGEST).expect("room")))
        .collect();
    let late = whole.now_ms() + 2 * u64::try_from(PATIENCE.as_millis()).expect("short");
    whole.sweep_at(late);
    assert_eq!(cut(), [false; 3], "there is room enough");
    held.push(guests[2].answers.take(LARGEST).expect("room"));
    whole.sweep_at(whole.now_ms());
    assert_eq!(cut(), [false; 3], "there was no time to read");
    for guest in &guests[1..] {
        guest.answers.moved_ms.store(late, Ordering::Relaxed);
    }
    whole.sweep_at(late);
    assert_eq!(cut(), [true, false, false]);
}

#[test]
fn pages_that_are_being_read_make_no_room_short() {
    let whole = whole();
    let guests = guests::<5>(&whole);
    let _unread = guests[0].answers.take(2 * SMALL).expect("room");
    let pages: Vec<_> = guests[1..]
        .iter()
        .map(|guest| guest.answers.reserve(LARGEST / 4 * 5).expect("room"))
        .collect();
    let late = || whole.now_ms() + 2 * u64::try_from(PATIENCE.as_millis()).expect("short");
    whole.sweep_at(late());
    assert!(!guests[0].is_cut(), "five eighths are taken for nothing yet");
    let _pages: Vec<_> = pages
        .into_iter()
        .map(|page| page.comes_to(LARGEST / 4 * 5).expect("what was reserved"))
        .collect();
    assert_eq!(whole.reserved.load(Ordering::Relaxed), 0);
    whole.sweep_at(late());
    assert!(guests.iter().all(|guest| guest.is_cut()), "now they are there");
}

/// All room, of which somebody took something long ago.
fn whole_of_old() -> Arc<Whole> {
    let mut whole = whole();
    Arc::get_mut(&mut whole).expect("it is new").begun -= 4 * PATIENCE;
    whole
}

/// Whether the client is taken for stuck that has not taken anything since then.
fn is_stuck_since_long(own: &Answers) -> bool {
    own.moved_ms.store(0, Ordering::Relaxed);
    own.is_stuck()
}

/// Bytes that are there at once.
struct AtOnce(Option<Bytes>);

impl http_body::Body for AtOnce {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[test]
fn an_answer_makes_room_piece_by_piece() {
    let own = Answers::of_connection(&whole_of_old());
    let (one, other) = (2 * PIECE + 5, PIECE);
    let outgoing = Arc::new(Outgoing::default());
    for bytes in [one, other, SMALL] {
        outgoing.add(own.take(bytes).expect("room"));
    }
    // With what encoding adds.
    let bytes: Bytes = (0..one + other + SMALL + 15).map(|n| n.to_le_bytes()[0]).collect();
    let mut response = Response::new(Body::new(AtOnce(Some(bytes.clone()))));
    response.extensions_mut().insert(outgoing);
    let mut body = counted(response).into_body();
    let mut pieces = Vec::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut cx) {
        pieces.push(frame.expect("bytes").into_data().expect("no trailers"));
        assert_eq!(body.is_end_stream(), pieces.len() == 4);
    }
    assert_eq!(pieces.concat(), bytes, "all of them, in order");
    assert_eq!(own.held.load(Ordering::Relaxed), one + other);
    for left in [2 * PIECE + 5, PIECE + 5, 5, 0] {
        assert!(is_stuck_since_long(&own), "nothing was read since");
        drop(pieces.remove(0));
        assert!(!own.is_stuck(), "a piece was");
        assert_eq!(own.held.load(Ordering::Relaxed), left);
    }
    assert!(!is_stuck_since_long(&own), "nothing is left to read");
}

#[test]
fn what_waits_for_the_node_accuses_no_client() {
    let own = Answers::of_connection(&whole_of_old());
    let request = own.take_request(2 * SMALL).expect("room");
    let outgoing = Outgoing::stream(Vec::new(), Some(request));
    assert!(is_stuck_since_long(&own), "it has not asked for a page");
    outgoing.set_unread(false);
    let page = own.reserve(LARGEST / 2).expect("room");
    assert!(!is_stuck_since_long(&own), "there is none yet");
    let page = page.comes_to(3 * SMALL).expect("less than that");
    assert!(!own.is_stuck(), "it has just come");
    assert!(is_stuck_since_long(&own));
    outgoing.set_unread(true);
    drop(page);
    assert!(!own.is_stuck() && is_stuck_since_long(&own), "the next one is not asked for");
    drop(outgoing);
    assert!(!is_stuck_since_long(&own));
    assert_eq!(own.held.load(Ordering::Relaxed), 0);
}

#[test]
fn room_that_was_reserved_becomes_what_the_answer_comes_to() {
    let whole = whole();
    let own = Answers::of_connection(&whole);
    let holds = || [&own.held, &own.unread].map(|count| count.load(Ordering::Relaxed));
    let reserved = || own.reserve(LARGEST).expect("room");
    for (bytes, counts) in [(5 * SMALL, 5 * SMALL), (LARGEST + 1, LARGEST + 1), (SMALL, 0)] {
        let page = reserved().comes_to(bytes).expect("room");
        assert_eq!(holds(), [counts; 2]);
        drop(page);
        assert_eq!(holds(), [0; 2]);
    }
    let other = own.take(LARGEST / 2).expect("room");
    assert!(reserved().comes_to(LARGEST / 2 * 3 + 1).is_none(), "there is not so much");
    drop(other);
    assert_eq!(whole.held.load(Ordering::Relaxed), 0);
}

#[test]
fn what_streams_are_asked_with_leaves_room_for_pages_and_these_for_answers() {
    let whole = whole();
    let connections: Vec<_> = (0..9).map(|_| Answers::of_connection(&whole)).collect();
    let all = |some: &dyn Fn(&Arc<Answers>) -> Option<Held>| -> Vec<_> {
        connections.iter().flat_map(|own| std::iter::from_fn(|| some(own))).collect()
    };
    let requests = all(&|own| own.take_request(LARGEST / 2));
    assert_eq!(requests.len(), 8, "four eighths of all room, and of each share");
    assert!(connections[8].take_request(SMALL + 1).is_none());
    assert!(connections[8].take_request(SMALL).is_some(), "small ones are not counted");
    let pages = all(&|own| own.reserve(LARGEST / 2));
    assert_eq!(pages.len(), 4, "two eighths more");
    assert!(connections[0].take(LARGEST / 2).is_some(), "a share has some room left");
    let answers = all(&|own| own.take(LARGEST / 2));
    assert_eq!(answers.len(), 4, "two eighths");
    drop((requests, pages, answers));
    let page = connections[0].reserve(2 * LARGEST).expect("as much of it as may be reserved");
    assert!(page.comes_to(2 * LARGEST).is_some(), "it may be all of its connection's");
}

#[tokio::test(start_paused = true)]
async fn who_has_not_read_a_stream_in_its_time_is_cut_off() {
    let whole = whole();
    let guests = guests::<2>(&whole);
    let mut streams: Vec<_> = guests
        .iter()
        .map(|guest| {
            let mut outgoing = Outgoing::default();
            outgoing.cut_off_after(PATIENCE, guest);
            let mut response = Response::new(Body::new("answer".to_owned()));
            response.extensions_mut().insert(Arc::new(outgoing));
            counted(response).into_body()
        })
        .collect();
    // What has gone out of the body is not read yet.
    let mut pieces = Vec::new();
    for stream in &mut streams {
        let piece = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_frame(cx)).await;
        pieces.push(piece.expect("a piece").expect("sound"));
    }
    drop(streams);
    tokio::time::sleep(PATIENCE / 2).await;
    assert!(guests.iter().all(|guest| !guest.is_cut()), "it has its time");
    drop(pieces.pop());
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(guests.map(|guest| guest.is_cut()), [true, false]);
}
