#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rowcast_fuzz::document(input));
