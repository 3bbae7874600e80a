use super::*;

const SHORT: Duration = Duration::from_millis(20);

fn request(fields: usize) -> Request<()> {
    let mut request = Request::get("https://a.test/x").body(()).unwrap();
    for number in 0..fields {
        let name: http::HeaderName = format!("a{number:x}").parse().unwrap();
        request.headers_mut().insert(name, http::HeaderValue::from_static(""));
    }
    request
}

#[test]
fn a_grant_is_returned_when_it_is_dropped_shrunk_or_merged() {
    let share = Share::new(100 * KIB);
    let mut grant = share.try_reserve(60 * KIB + 1).unwrap();
    assert_eq!((grant.bytes(), share.free()), (61 * KIB, 39 * KIB));
    assert!(share.try_reserve(40 * KIB).is_none());
    grant.shrink_to(10 * KIB);
    grant.shrink_to(20 * KIB);
    assert_eq!((grant.bytes(), share.free()), (10 * KIB, 90 * KIB));
    grant.merge(share.try_reserve(90 * KIB).unwrap());
    assert_eq!((grant.bytes(), share.free()), (100 * KIB, 0));
    drop(grant);
    assert_eq!(share.free(), share.bytes());
    assert!(share.try_reserve(100 * KIB + 1).is_none());
    assert!(share.try_reserve(usize::MAX).is_none());
}

#[test]
fn the_shares_are_the_whole_and_no_more() {
    for bytes in [0, LEAST, 64 * MIB, 100 * MIB + 12345, 6 * 1024 * MIB] {
        let budget = Budget::new(bytes);
        let shares = [
            &budget.connections,
            &budget.requests,
            &budget.waiting,
            &budget.heads,
            &budget.upstream,
            &budget.bulk,
        ];
        let sum = shares.map(Share::bytes).iter().sum::<usize>() + budget.queued.most;
        let total = bytes.max(LEAST);
        assert!(sum <= total && total - sum < 64 * KIB, "{bytes}: {sum}");
    }
}

#[test]
fn a_single_transfer_has_full_windows_and_the_last_connection_has_small_ones() {
    let budget = Budget::new(64 * MIB);
    let mut connections = Vec::new();
    while let Some(mut grant) = budget.try_upstream() {
        let window = budget.download_window(&mut grant);
        connections.push((window as usize, grant));
    }
    assert_eq!(connections[0].0, DOWNLOAD_WINDOW);
    assert!(connections.windows(2).all(|pair| pair[0].0 >= pair[1].0));
    assert!(connections.iter().all(|(window, _)| *window >= SMALLEST_WINDOW));
    assert!(connections[9].0 >= 128 * KIB, "{}", connections[9].0);
    assert!(connections.len() > 80, "{}", connections.len());
    let held: usize = connections.iter().map(|(_, grant)| grant.bytes()).sum();
    assert!(held <= budget.upstream.bytes());
    drop(connections);
    assert_eq!(budget.upstream.free(), budget.upstream.bytes());
}

#[test]
fn http2_ends_before_connections_do() {
    let budget = Budget::new(64 * MIB);
    let mut held = Vec::new();
    let mut granted = Vec::new();
    while let Some((grant, limits)) = budget.http2(256) {
        held.push(budget.connection().unwrap());
        held.push(grant);
        granted.push(limits);
    }
    assert!(granted[0].streams >= 200 && granted[0].window >= 384 * 1024, "{granted:?}");
    assert!(granted.iter().all(|limits| limits.streams >= FEWEST_STREAMS && limits.window >= 65_536));
    assert!(granted.len() >= 24, "{}", granted.len());
    // What is left is for HTTP/1.1.
    let more = std::iter::from_fn(|| budget.connection()).collect::<Vec<_>>();
    assert!(more.len() >= 32, "{}", more.len());
    assert!(budget.connection().is_none());
}

#[test]
fn a_head_is_weighed_by_its_fields() {
    let budget = Budget::new(64 * MIB);
    let admitted = |fields| {
        let grants = std::iter::from_fn(|| match budget.admit(&request(fields)) {
            Admission::Admitted(grant) => Some(grant),
            Admission::Queued(_) | Admission::Refused => None,
        });
        grants.collect::<Vec<_>>().len()
    };
    // 1700 fields of 12 KB on the wire are a third of a megabyte in a table.
    assert!((12..40).contains(&admitted(1700)), "{}", admitted(1700));
    assert!(admitted(10) > 400, "{}", admitted(10));
}

#[tokio::test]
async fn requests_wait_in_turn_and_are_refused_when_too_many_do() {
    let budget = Budget::new(0);
    let mut admitted = Vec::new();
    let mut waiters = Vec::new();
    loop {
        match budget.admit(&request(5)) {
            Admission::Admitted(grant) => admitted.push(grant),
            Admission::Queued(waiter) => waiters.push(waiter),
            Admission::Refused => break,
        }
    }
    assert!(admitted.len() > 50 && waiters.len() > 10, "{} {}", admitted.len(), waiters.len());
    let second = waiters.pop().unwrap();
    assert!(waiters.pop().unwrap().admitted(SHORT).await.is_none(), "nobody has ended");
    // One that gave up has made room to wait in, and none to go on.
    assert!(matches!(budget.admit(&request(5)), Admission::Queued(_)));
    let waiting = tokio::spawn(second.admitted(Duration::from_secs(20)));
    admitted.pop();
    assert!(waiting.await.unwrap().is_some());
}

#[test]
fn a_head_that_can_never_fit_is_refused() {
    let budget = Budget::new(LEAST);
    let mut large = request(0);
    for number in 0..12_000 {
        let name: http::HeaderName = format!("a{number:x}").parse().unwrap();
        large.headers_mut().insert(name, http::HeaderValue::from_static(""));
    }
    assert!(matches!(budget.admit(&large), Admission::Refused));
}

#[tokio::test]
async fn a_large_wait_is_not_overtaken() {
    let share = Share::new(MIB);
    let first = share.try_reserve(600 * KIB).unwrap();
    let large = tokio::spawn({
        let share = share.clone();
        async move { share.reserve(900 * KIB, Duration::from_secs(20)).await.map(|grant| grant.bytes()) }
    });
    while share.free() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(share.try_reserve(KIB).is_none());
    drop(first);
    assert_eq!(large.await.unwrap(), Some(900 * KIB));
    assert!(share.reserve(MIB + 1, Duration::from_secs(20)).await.is_none(), "it can never be");
}

#[test]
fn each_body_has_one_piece_on_its_way_however_full_the_others_are() {
    let queued = Queued { bytes: AtomicUsize::new(0), most: MIB };
    let mut own = 0;
    while queued.has_room(own) {
        own += queued.add(16 * KIB);
    }
    assert!((BODY_QUEUE..BODY_QUEUE + 32 * KIB).contains(&own), "{own}");
    let rest = queued.add(MIB);
    assert!(!queued.has_room(1) && queued.has_room(0));
    queued.remove(own);
    queued.remove(rest);
    assert!(queued.has_room(1));
    // Single bytes are not cheaper than their bookkeeping.
    let pieces = std::iter::repeat_with(|| queued.add(1)).take(1000).sum::<usize>();
    assert!(pieces > 250 * 1000);
}

#[tokio::test]
async fn pushes_queue_for_a_place_and_not_for_memory() {
    let budget = Budget::new(64 * MIB);
    let first = budget.push(SHORT).await.unwrap();
    assert!(budget.push(SHORT).await.is_none());
    assert_eq!(budget.bulk().free(), budget.bulk().bytes());
    drop(first);
    assert!(budget.push(SHORT).await.is_some());
}

#[test]
fn a_grant_that_grows_gives_back_what_it_does_not_need() {
    let share = Share::new(100 * KIB);
    let mut growing = Growing::from(share.clone(), share.try_reserve(25 * KIB).unwrap());
    assert!(growing.try_hold(90 * KIB));
    growing.shrink_to(40 * KIB);
    assert_eq!(share.free(), 60 * KIB);
    let other = share.try_reserve(50 * KIB).unwrap();
    assert!(!growing.try_hold(60 * KIB));
    assert_eq!(share.free(), 10 * KIB);
    drop((growing, other));
    assert_eq!(share.free(), share.bytes());
}
