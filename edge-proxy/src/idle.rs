//! Ends what is silent for too long, on one timer for all the requests of a connection.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long nothing has happened. What happens moves no timer: only when it rings is it asked since
/// when it is silent, and set to what is left.
#[derive(Debug)]
pub struct Idle {
    timer: Pin<Box<Sleep>>,
    time_max: Duration,
    since: Instant,
}

impl Idle {
    /// Silent from now on.
    #[must_use]
    pub fn new(time_max: Duration) -> Self {
        Self { timer: Box::pin(tokio::time::sleep(time_max)), time_max, since: Instant::now() }
    }

    /// Something happens.
    pub fn touch(&mut self) {
        self.since = Instant::now();
    }

    /// Returns when nothing has happened for too long. May be given up and asked again.
    pub async fn over(&mut self) {
        loop {
            self.timer.as_mut().await;
            let end = self.since + self.time_max;
            if Instant::now() >= end {
                return;
            }
            self.timer.as_mut().reset(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_what_happened_last() {
        let began = Instant::now();
        let mut idle = Idle::new(Duration::from_secs(60));
        for _ in 0..3 {
            let pause = tokio::time::timeout(Duration::from_secs(50), idle.over()).await;
            assert!(pause.is_err(), "something happened in time");
            idle.touch();
        }
        idle.over().await;
        assert_eq!(began.elapsed(), Duration::from_secs(3 * 50 + 60));
        idle.over().await;
        assert_eq!(began.elapsed(), Duration::from_secs(3 * 50 + 60), "it stays over");
    }
}
