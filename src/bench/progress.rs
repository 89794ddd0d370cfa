//! What is going on, for whoever looks at the terminal: one line on standard error, and nothing if that is none.

use std::time::Duration;

use indicatif::ProgressBar;

/// The line.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start() -> Self {
        let line = ProgressBar::new_spinner();
        line.enable_steady_tick(Duration::from_millis(200));
        Self(line)
    }

    pub(super) fn tell(&self, text: String) {
        self.0.set_message(text);
    }
}

impl Drop for Progress {
    /// It goes, so that the figures stand alone.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
