//! The partition state machine. (skeleton)
