//! User-space stacks: the functions of a program that caused a check.

/// The functions of a program that caused a check, the called ones first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Stack {
    /// The functions, at most 64.
    pub frames: Vec<Frame>,
    /// Whether the last function is the first one of its thread. Otherwise the rest is unknown.
    pub is_whole: bool,
}

/// A function and the place in it that is being executed, or at which it calls another function.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Frame {
    /// The path of the program or library, a name such as `[vdso]`, or empty if unknown.
    pub object: String,
    /// The address in the object, or in the process if the object is unknown. Two frames with the
    /// same address are a function and the one into which it was inlined.
    pub address: u64,
    /// The name of the function, if the object has symbols.
    pub function: Option<String>,
    /// The source file, if there is debugging information.
    pub file: Option<String>,
    /// The line in the source file, if there is debugging information.
    pub line: Option<u32>,
    /// The position of the object among those of the recording.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) module: Option<usize>,
}
