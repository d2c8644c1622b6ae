//! `rcap save`: prints the capabilities of files as text for `rcap restore`.

use std::io::Write;

use super::{Exit, Io, args::SaveRequest, chain, failure::Failure};
use rcap::scan::saved::{self, Saving};

/// # Errors
///
/// [`Failure`]
pub(crate) fn run(request: &SaveRequest, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let mut saving = Saving::of_paths(request.paths.clone());
    saving.root.clone_from(&request.root);
    saving.modes = request.modes;
    saving.sha256 = request.sha256;
    saving.one_file_system = request.one_file_system;
    let (lines, errors) = saved::save(&saving)?;
    io.out.write_all(saved::to_text(&lines).as_bytes())?;
    for err in &errors {
        io.complain_in_words("rcap save", &chain(err))?;
    }
    // An incomplete list must not be restored.
    Ok(if errors.is_empty() { Exit::SUCCESS } else { Exit::FAILED })
}
