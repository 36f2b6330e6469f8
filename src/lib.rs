//! Stub while dependencies compile.
