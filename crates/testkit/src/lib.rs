//! Drives the real binary in tests.
