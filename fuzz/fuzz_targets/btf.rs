#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rcap_fuzz::btf(bytes));
