//! Samples and what is published, as octets to be kept in a file.
//!
//! A line that names kind and version, content, SHA-256 of both. Numbers are little-endian. What does not hash to the last 32
//! octets is damaged and is not read at all; what does is still checked in every figure, since files are edited and moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Settings;
use super::biases::MOST_MS;
use super::estimate::MOST_LN;
use super::published::{self, Factor, Factors, Prefix, Published};
use super::record::{MAX_TARGETS, MAX_WORDS, in_order, is_whole, trimmed};
use super::store::{Key, MAX_NAME, MAX_PREFIXES, Record, Samples};
use crate::model::{Country, Digest};

const SAMPLES: &[u8] = b"meridian samples 2\n";
/// The same with shorter records.
const SAMPLES_1: &[u8] = b"meridian samples 1\n";
const PUBLISHED: &[u8] = b"meridian estimates 2\n";
/// The same without biases.
const PUBLISHED_1: &[u8] = b"meridian estimates 1\n";
const DIGEST: usize = 32;
/// What is published of more countries, or networks, than this was not written by us.
const MAX_GROUPS: u32 = 1 << 20;
/// A factor's logarithm may be over its bound by so much: it is kept as an `f32`.
const ROUNDING: f64 = 1e-3;

impl Samples {
    /// All samples, to be kept; some 140 octets a prefix at most where there are many. Equal stores give equal octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let words: usize = self.records.iter().map(|record| record.words.len()).sum();
        let mut octets =
            Vec::with_capacity(SAMPLES.len() + 8 + self.records.len() * 9 + words * 4 + self.targets.len() * 32);
        octets.extend_from_slice(SAMPLES);
        octets.extend_from_slice(&(self.targets.len() as u32).to_le_bytes());
        self.targets.iter().for_each(|name| write_text(&mut octets, name));
        octets.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        for (key, &slot) in &self.slots {
            let words = &self.records[slot as usize].words;
            octets.extend_from_slice(&key.0.to_le_bytes());
            octets.push(words.len() as u8);
            words.iter().for_each(|word| octets.extend_from_slice(&word.to_le_bytes()));
        }
        sealed(octets)
    }

    /// The samples of [`Self::encode`].
    ///
    /// # Errors
    /// What is wrong with the octets: another kind or version, damage, or content that nobody wrote.
    pub fn decode(octets: &[u8], settings: Settings) -> Result<Self, String> {
        let is_first = octets.starts_with(SAMPLES_1);
        let mut reader = Reader::open(octets, if is_first { SAMPLES_1 } else { SAMPLES })?;
        let mut samples = Self::new(settings);
        for _ in 0..reader.count(MAX_TARGETS as u32, "sites")? {
            let name = reader.text()?;
            let known = samples.targets.len();
            samples.target(&name);
            if samples.targets.len() == known {
                return Err(format!("site '{name}' stands there twice"));
            }
        }
        let mut last = None;
        for _ in 0..reader.count(MAX_PREFIXES as u32, "prefixes")? {
            let key = Key(reader.u64()?);
            let count = usize::from(reader.u8()?);
            if !key.is_sound() || last.is_some_and(|last| last >= key) || count > MAX_WORDS {
                return Err(format!("prefix {:#x} is none, or out of order, or too long", key.0));
            }
            let words = (0..count).map(|_| reader.u32()).collect::<Result<Box<[u32]>, String>>()?;
            if !is_whole(&words, samples.targets.len()) {
                return Err(format!("the sessions of {} are none", key.prefix()));
            }
            let words = in_order(&words);
            let words = if samples.is_full() { trimmed(&words) } else { words };
            samples.add(Record { key, words });
            last = Some(key);
        }
        reader.end()?;
        Ok(samples)
    }
}

impl Published {
    /// To be kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = PUBLISHED.to_vec();
        octets.extend_from_slice(&(self.biases.len() as u32).to_le_bytes());
        for (site, bias_ms) in &self.biases {
            write_text(&mut octets, site);
            octets.extend_from_slice(&bias_ms.to_le_bytes());
        }
        octets.extend_from_slice(&(self.countries.len() as u32).to_le_bytes());
        for (country, factors) in &self.countries {
            octets.extend_from_slice(country.as_str().as_bytes());
            write_factors(&mut octets, factors);
        }
        octets.extend_from_slice(&(self.networks.len() as u32).to_le_bytes());
        for ((country, asn), factors) in &self.networks {
            octets.extend_from_slice(country.as_str().as_bytes());
            octets.extend_from_slice(&asn.to_le_bytes());
            write_factors(&mut octets, factors);
        }
        octets.extend_from_slice(&(self.prefixes.len() as u32).to_le_bytes());
        for (prefix, place) in &self.prefixes {
            octets.extend_from_slice(&Key::of(prefix.network()).0.to_le_bytes());
            octets.extend_from_slice(&place.weight.to_le_bytes());
            write_factors(&mut octets, &place.factors);
        }
        sealed(octets)
    }

    /// What [`Self::encode`] kept; where version 1 did, without biases.
    ///
    /// # Errors
    /// As of [`Samples::decode`].
    pub fn decode(octets: &[u8]) -> Result<Self, String> {
        let is_first = octets.starts_with(PUBLISHED_1);
        let mut reader = Reader::open(octets, if is_first { PUBLISHED_1 } else { PUBLISHED })?;
        let mut read = Self::default();
        let biases = if is_first { 0 } else { reader.count(MAX_TARGETS as u32, "biases")? };
        for _ in 0..biases {
            let (site, bias_ms) = (reader.text()?, f32::from_bits(reader.u32()?));
            if bias_ms.is_nan() || f64::from(bias_ms).abs() > MOST_MS {
                return Err(format!("the bias of site '{site}' is none"));
            }
            insert(&mut read.biases, site, bias_ms)?;
        }
        for _ in 0..reader.count(MAX_GROUPS, "countries")? {
            let country = reader.country()?;
            insert(&mut read.countries, country, reader.factors()?)?;
        }
        for _ in 0..reader.count(MAX_GROUPS, "networks")? {
            let network = (reader.country()?, reader.u32()?);
            insert(&mut read.networks, network, reader.factors()?)?;
        }
        for _ in 0..reader.count(published::MAX_PREFIXES as u32, "prefixes")? {
            let key = Key(reader.u64()?);
            let weight = f32::from_bits(reader.u32()?);
            if !(key.is_sound() && weight.is_finite() && weight >= 0.0) {
                return Err(format!("prefix {:#x} is none, or has no weight", key.0));
            }
            insert(&mut read.prefixes, key.prefix(), Prefix { weight, factors: reader.factors()? })?;
        }
        reader.end()?;
        Ok(read)
    }
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Result<(), String> {
    match map.insert(key, value) {
        None => Ok(()),
        Some(_) => Err("a place stands there twice".to_owned()),
    }
}

fn sealed(mut octets: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(&octets);
    octets.extend_from_slice(&digest.0);
    octets
}

/// One octet of length, then the text: names are no longer than 255.
fn write_text(octets: &mut Vec<u8>, text: &str) {
    octets.push(text.len() as u8);
    octets.extend_from_slice(text.as_bytes());
}

fn write_factors(octets: &mut Vec<u8>, factors: &Factors) {
    octets.extend_from_slice(&(factors.len() as u32).to_le_bytes());
    for Factor { site, factor, spread, samples, newest } in factors {
        write_text(octets, site);
        for figure in [factor, spread, samples] {
            octets.extend_from_slice(&figure.to_le_bytes());
        }
        octets.extend_from_slice(&newest.as_second().to_le_bytes());
    }
}

/// Octets that are read from the front.
struct Reader<'a> {
    rest: &'a [u8],
    /// Sites' names, each once.
    names: BTreeMap<&'a str, Arc<str>>,
}

impl<'a> Reader<'a> {
    fn open(octets: &'a [u8], kind: &[u8]) -> Result<Self, String> {
        let content = octets.strip_prefix(kind).ok_or_else(|| {
            let kind = String::from_utf8_lossy(kind);
            format!("not '{}': of another kind, of another version, or no such file at all", kind.trim_end())
        })?;
        let (rest, digest) = content.split_last_chunk::<DIGEST>().ok_or("cut short: too short for its own checksum")?;
        if Digest::of(&octets[..octets.len() - DIGEST]).0 != *digest {
            return Err("damaged or cut short: its checksum is another".to_owned());
        }
        Ok(Self { rest, names: BTreeMap::new() })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or("ends too early")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.take::<1>().map(|[octet]| octet)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_le_bytes)
    }

    fn count(&mut self, most: u32, what: &str) -> Result<u32, String> {
        let count = self.u32()?;
        if count > most { Err(format!("{count} {what}, {most} at most")) } else { Ok(count) }
    }

    fn text(&mut self) -> Result<Arc<str>, String> {
        let length = usize::from(self.u8()?);
        let (text, rest) = self.rest.split_at_checked(length.min(MAX_NAME)).ok_or("ends too early")?;
        self.rest = rest;
        let text = std::str::from_utf8(text).map_err(|_| "a site's name is no text")?;
        Ok(self.names.entry(text).or_insert_with(|| text.into()).clone())
    }

    fn country(&mut self) -> Result<Country, String> {
        let letters = self.take::<2>()?;
        let country = std::str::from_utf8(&letters).ok().and_then(|letters| letters.parse().ok());
        country.ok_or_else(|| "a country that is none".to_owned())
    }

    fn factors(&mut self) -> Result<Factors, String> {
        let mut factors: Vec<Factor> = Vec::new();
        for _ in 0..self.count(MAX_TARGETS as u32, "factors")? {
            let site = self.text()?;
            let mut figure = || Ok::<f32, String>(f32::from_bits(self.u32()?));
            let (factor, spread, samples) = (figure()?, figure()?, figure()?);
            let newest = Timestamp::from_second(self.u64()? as i64).map_err(|error| error.to_string())?;
            let are_good = [factor, spread, samples].iter().all(|figure| figure.is_finite() && *figure >= 0.0);
            let is_shift = factor > 0.0 && f64::from(factor).ln().abs() <= MOST_LN + ROUNDING;
            if !are_good || !is_shift || factors.last().is_some_and(|last| last.site >= site) {
                return Err(format!("the factor of site '{site}' is none, or out of order"));
            }
            factors.push(Factor { site, factor, spread, samples, newest });
        }
        Ok(factors.into())
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err("there is more behind the end".to_owned()) }
    }
}
