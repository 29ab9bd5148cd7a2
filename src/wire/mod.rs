//! Floor 1: the DNS wire format. Bytes → [`Query`], answer → the caller's buffer.
//!
//! [`parse`] reads a query in one walk over its bytes, borrows from them and allocates nothing. What
//! it refuses it refuses with a [`Rejection`]: silence, or a reply that can be written at once. The
//! class, the type and the name are not judged here.
//!
//! A [`Writer`] copies the question as it was sent (case kept), takes records one by one or as a
//! ready image, holds back the room of the OPT record that it will end with, and says [`Full`]
//! without leaving half a record. It knows no zones and no policy.

mod batch;
mod cut;
mod edns;
mod freshness;
mod names;
mod numbers;
mod proxy;
mod query;
#[cfg(test)]
mod tests;
mod writer;

pub use batch::{BATCH, Batch, LONGEST, SLOT};
pub use cut::{Cut, cut};
pub use edns::{
    ADVERTISED_UDP_SIZE, ClientSubnet, Edns, ExtendedError, OPTION_CLIENT_SUBNET, OPTION_COOKIE, OPTION_NSID,
};
pub use freshness::freshness;
pub use names::name_length;
pub use numbers::{Class, Rcode, Rtype};
pub use proxy::{PROXY_FIXED, PROXY_LONGEST, PROXY_SIGNATURE, ProxyHeader};
pub use query::{HEADER_LENGTH, Header, Query, Question, Rejected, Rejection, parse};
pub use writer::{COOKIE_LENGTH, Ending, Full, Mark, Section, Writer};
