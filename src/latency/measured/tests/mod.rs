//! What samples say of a world that is made up, and what they do not.

mod estimates;
mod exploring;
mod made;
mod poisoning;
mod publishing;
mod saving;
