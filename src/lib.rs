//! pollbal.
