use stator_storage::partition::{WriteAnswer, WriteError};

use super::*;

fn refused() -> WriteError {
    WriteError::Refused(Error::new(ErrorKind::Throttling, "no room"))
}

#[test]
fn a_share_of_which_some_is_done_is_never_said_to_be_undone() {
    for failed in [refused(), WriteError::Moved { generation: 2 }] {
        for outcomes in [
            vec![Ok(WriteAnswer::default()), Err(failed.clone())],
            vec![Err(failed.clone()), Ok(WriteAnswer::default())],
        ] {
            let Attempt::Done(Err(error)) = all_done(outcomes) else { panic!("an error") };
            assert_eq!(error.applied(), Applied::Unknown);
        }
    }
}

#[test]
fn a_share_of_which_nothing_is_done_may_be_tried_elsewhere() {
    let moved = all_done(vec![Err(WriteError::Moved { generation: 2 })]);
    assert!(matches!(moved, Attempt::StaleRoute));
    let Attempt::Done(Err(error)) = all_done(vec![Err(refused())]) else { panic!("an error") };
    assert_eq!(error.applied(), Applied::No);
    let done = all_done(vec![Ok(WriteAnswer::default())]);
    assert!(matches!(done, Attempt::Done(Ok(left)) if left.is_empty()));
}
