//! Every system call of the programs fails once, one at a time. The program must then either do the
//! same as without the fault, or report an error: a message, an exit status other than 0, and every
//! file as it was or as it was to become.
//!
//! By default, some calls and errors of each command line are tried. `RCAP_FAULTS=all` tries all. The
//! numbers of results are appended to the file that `RCAP_FAULTS_TO` names.

#[cfg(target_arch = "x86_64")]
#[path = "faults/cases.rs"]
mod cases;
#[cfg(target_arch = "x86_64")]
mod common;
#[cfg(target_arch = "x86_64")]
#[path = "faults/tracer.rs"]
mod tracer;

#[cfg(target_arch = "x86_64")]
use cases::{
    export_and_explain, file_capabilities, inventories, minimum, processes,
    programs_with_other_privileges, recordings, saved_capabilities, verdicts,
};

#[cfg(target_arch = "x86_64")]
tests! {
    Nothing:
        export_and_explain,
        verdicts;
    Root:
        file_capabilities,
        processes,
        programs_with_other_privileges,
        saved_capabilities,
        inventories;
    Tracing:
        recordings,
        minimum;
}

/// The registers that the tracer changes are those of x86-64.
#[cfg(not(target_arch = "x86_64"))]
fn main() {}
