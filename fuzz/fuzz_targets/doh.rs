//! Any query string and media type of an HTTP request: nothing panics, nothing is longer than a DNS message, and
//! what is taken from a URL is what any encoder would write there.
//!
//! What is judged needs std and base64 alone, so its source is taken in without the rest of the product.
#![no_main]

#[path = "../../src/serve/doh.rs"]
pub mod doh;

use base64::engine::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let judged = doh::query_in_url(Some(text));
    match &judged {
        Ok(query) => {
            assert!(query.len() <= doh::LONGEST_QUERY && query.len() <= text.len());
            let written = format!("dns={}", URL_SAFE_NO_PAD.encode(query));
            assert!(text.split('&').any(|pair| pair == written));
            assert_eq!(doh::query_in_url(Some(&written)), judged);
        }
        Err(refusal) => assert!([400, 414].contains(&refusal.status) && !refusal.why.is_empty()),
    }
    if let Err(refusal) = doh::check_media_type(Some(text)) {
        assert_eq!(refusal.status, 415);
    }
});
