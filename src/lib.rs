//! One simple endpoint in front of Genesys Cloud for the participant attributes of live calls.

pub mod simulator;
