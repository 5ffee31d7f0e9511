//! The library of models, on Burn: each a `mizar_train::Learner`.
