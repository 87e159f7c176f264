//! Accepts inputs, and applies them to a session in memory.

use super::EntryState;
use crate::recorder::input::Input;
use crate::store::Instance;

/// The most events before the first play that are kept until it arrives: those of a batch that overtook the batch
/// before.
const EARLY_MAX: usize = 32;

impl EntryState {
    /// Accepts an input, and returns how many inputs are to be written because of it.
    pub(in crate::recorder) fn accept(&mut self, input: Input, instance: Instance) -> usize {
        self.touched_ms = self.touched_ms.max(input.received_ms());
        let before = self.inputs.len();
        if self.is_stale() {
            self.inputs.push(input);
        } else {
            self.apply(input, instance);
            self.folded = self.inputs.len();
        }
        self.inputs.len() - before
    }

    /// Applies an input to the session, and keeps it if it changed anything. An early input waits for the first play.
    pub(super) fn apply(&mut self, input: Input, instance: Instance) {
        let begins = self.session.is_none();
        if !input.apply_to(&mut self.session, self.other_instance_ms) {
            if self.session.is_none() && input.is_early() {
                if self.early.len() == EARLY_MAX {
                    self.early.remove(0);
                }
                self.early.push(input);
            }
            return;
        }
        self.writers.count_input(instance.0);
        let early = if begins { std::mem::take(&mut self.early) } else { Vec::new() };
        let counts =
            |early: &Input| early.is_rate() || early.is_report() || !early.is_before(&input);
        let early = early.into_iter().filter(counts).collect::<Vec<_>>();
        self.inputs.push(input);
        for input in early {
            self.apply(input, instance);
        }
    }
}
