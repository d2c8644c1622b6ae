//! Without the feature `stacks`, no user-space stacks are recorded.

use super::{Analysis, record::Event};

#[derive(Debug, Default)]
pub(super) struct Resolver;

impl Resolver {
    #[expect(clippy::unused_self, reason = "the interface of the other module")]
    pub(super) fn resolve(&mut self, _events: &mut Vec<Event>) {}

    #[expect(clippy::unused_self, reason = "the interface of the other module")]
    pub(super) fn name(&mut self, _analysis: &mut Analysis) -> Vec<String> {
        Vec::new()
    }
}
