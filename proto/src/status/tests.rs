//! Errors survive the way over the wire; what comes from elsewhere is judged with care.

use std::time::Duration;

use stator_model::EncodedItem;

use super::*;

fn item(bytes: usize) -> EncodedItem {
    EncodedItem::from_bytes(vec![7; bytes].into())
}

fn route() -> RouteHint {
    RouteHint {
        table_id: 3,
        generation: 9,
        first_hash: 1 << 62,
        last_hash: u64::MAX,
        leader_endpoint: "http://10.0.0.2:7000".to_owned(),
    }
}

/// One error of each kind, each with its code and something unusual.
fn errors() -> Vec<(Code, Error)> {
    let new = |kind| Error::new(kind, format!("the text of {kind:?}: ü"));
    vec![
        (Code::InvalidArgument, new(ErrorKind::Validation)),
        (Code::FailedPrecondition, Error::conditional_check_failed(Some(item(100)))),
        (Code::NotFound, new(ErrorKind::ResourceNotFound).with_retry(Retry::Now)),
        (Code::AlreadyExists, new(ErrorKind::ResourceInUse)),
        (Code::ResourceExhausted, new(ErrorKind::LimitExceeded)),
        (Code::ResourceExhausted, new(ErrorKind::ItemCollectionSizeLimitExceeded)),
        (Code::ResourceExhausted, new(ErrorKind::ProvisionedThroughputExceeded)),
        (
            Code::ResourceExhausted,
            new(ErrorKind::Throttling).with_retry(Retry::After(Duration::from_millis(1234))),
        ),
        (Code::Unavailable, new(ErrorKind::Unavailable)),
        (Code::DeadlineExceeded, new(ErrorKind::DeadlineExceeded)),
        (Code::Unimplemented, new(ErrorKind::UnknownOperation)),
        (Code::Internal, new(ErrorKind::InternalServerError)),
        (Code::Unknown, new(ErrorKind::Uncertain)),
    ]
}

#[test]
fn every_error_comes_back_whole() {
    for (expected, error) in errors() {
        for route in [None, Some(route())] {
            let status = to_status(&error, route.clone(), DETAIL_BYTES_DEFAULT);
            assert_eq!(status.code(), expected, "{error:?}");
            assert_eq!(status.message(), error.message());
            let exception = status.metadata().get(EXCEPTION).unwrap();
            assert_eq!(exception, error.kind().name());
            for effect in [Effect::Read, Effect::Write] {
                let received = from_status(&status, effect);
                assert_eq!(received.error, error);
                assert_eq!(received.error.item(), error.item());
                assert_eq!(received.route, route);
                assert!(received.from_stator);
            }
        }
    }
}

#[test]
fn what_may_have_been_applied_is_always_unknown() {
    for (_, error) in errors() {
        let error = error.with_applied(Applied::Unknown);
        let status = to_status(&error, None, DETAIL_BYTES_DEFAULT);
        assert_eq!(status.code(), Code::Unknown, "{error:?}");
        assert_eq!(from_status(&status, Effect::Write).error, error);
    }
}

#[test]
fn an_item_that_does_not_fit_is_left_out_and_said_to_be() {
    let error = Error::conditional_check_failed(Some(item(5000)));
    let small = to_status(&error, None, DETAIL_BYTES_DEFAULT);
    assert!(small.details().len() < DETAIL_BYTES_DEFAULT);
    assert!(detail_of(&small).unwrap().item_omitted);
    assert_eq!(from_status(&small, Effect::Write).error.item(), None);

    let large = to_status(&error, None, 6000);
    assert!(!detail_of(&large).unwrap().item_omitted);
    assert_eq!(from_status(&large, Effect::Write).error.item(), error.item());
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let error = Error::validation("ü".repeat(5000));
    let status = to_status(&error, None, DETAIL_BYTES_DEFAULT);
    assert_eq!(status.message().len(), MESSAGE_BYTES_MAX + "...".len());
    assert_eq!(from_status(&status, Effect::Write).error.message(), status.message());
}

#[test]
fn statuses_from_elsewhere_are_never_taken_for_a_promise() {
    for code in (1..=16).map(Code::from_i32) {
        let status = Status::new(code, "from a proxy");
        let write = from_status(&status, Effect::Write);
        assert!(!write.from_stator);
        let refused = matches!(
            code,
            Code::InvalidArgument
                | Code::Unimplemented
                | Code::PermissionDenied
                | Code::Unauthenticated
        );
        let expected = if refused { Applied::No } else { Applied::Unknown };
        assert_eq!(write.error.applied(), expected, "{code:?}");
        assert_eq!(from_status(&status, Effect::Read).error.applied(), Applied::No, "{code:?}");
    }
}

#[test]
fn broken_details_fall_back_to_the_code() {
    for details in [&b""[..], b"\xff\xff\xff", b"\x1a\x05\x0a\x03abc"] {
        let status = Status::with_details(Code::Unavailable, "?", Bytes::from_static(details));
        let received = from_status(&status, Effect::Write);
        assert!(!received.from_stator);
        assert_eq!(received.error.kind(), ErrorKind::Uncertain);
    }
}

#[test]
fn a_detail_from_a_later_version_is_taken_for_the_worst() {
    let detail = v1::ErrorDetail { exception: "NewException".to_owned(), ..Default::default() };
    let error = from_detail(&detail);
    assert_eq!(error.kind(), ErrorKind::InternalServerError);
    assert_eq!(error.applied(), Applied::Unknown);
    assert_eq!(error.retry(), Retry::Never);
    assert!(error.message().contains("NewException"));
}
