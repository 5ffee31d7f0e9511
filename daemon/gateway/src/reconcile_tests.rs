//! Tables of the races.
