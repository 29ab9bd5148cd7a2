//! Floor 4: runs the probes and resolves hostname endpoints; outcomes and addresses leave on
//! channels.
