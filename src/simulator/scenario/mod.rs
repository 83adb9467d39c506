//! Stories: what a buyer, the marketplace and the merchant do, step by step, and what must come of it.
//!
//! Invariant: a step presses what the console offers and reads what the console shows; nothing here
//! changes the marketplace in another way. Lengths of time in a story are the marketplace's, and pass
//! as fast as it does.

mod expectation;
mod file;
mod length;
mod look;
mod merchant_api;
mod player;
mod press;
mod reply;
mod report;
mod step;

pub use file::{BadScenario, Scenario};
pub use length::Length;
pub use merchant_api::MerchantApi;
pub use report::{Outcome, Played, Report};

use super::Simulator;
use player::Player;

impl Simulator {
    /// Plays a story against the merchant that this marketplace calls, and tells of each step when it is
    /// over. The first step that fails ends the story. `merchant` is asked where a story looks at the
    /// merchant's own side; without it such steps are skipped.
    pub async fn play(
        &self,
        scenario: &Scenario,
        merchant: Option<&MerchantApi>,
        mut told: impl FnMut(&Played),
    ) -> Report {
        let mut player = Player::new(&self.shared, merchant);
        let mut report = Report::default();
        for (nth, step) in scenario.steps.iter().enumerate() {
            let done = Played::new(step, player.play(&step.what).await);
            told(&done);
            let failed = done.outcome == Outcome::Failed;
            report.steps.push(done);
            if failed {
                report.not_played = scenario.steps.len() - nth - 1;
                break;
            }
        }
        report
    }
}
