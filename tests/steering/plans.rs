//! Plans' tables: the lines that the hot path copies say what the slow path says.

use std::sync::Arc;

use meridian::model::{Family, LocationId};
use meridian::table::{Image, PlanTable, Ready, ReadyKind, Reply};

use crate::dns::World;
use crate::shipped::SHIPPED;
use crate::small::{www, www_with};

fn says(ready: &Ready, image: &Image) -> bool {
    ready.kind == ReadyKind::Whole
        && ready.octets[..usize::from(ready.length)] == *image.bytes
        && usize::from(ready.records) == image.starts.len()
        && ready.ttl == image.ttl
        && [ready.counter] == *image.counters
}

/// A line of its own, or left to the slow path because the image is too long or of several endpoints.
fn is_of(ready: &Ready, image: &Image) -> bool {
    let fits = image.bytes.len() <= 48 && image.counters.len() == 1;
    if fits { says(ready, image) } else { ready.kind == ReadyKind::Slow }
}

/// How many orders are answered by a line, by a split's lines, and slowly.
fn ready_agrees(table: &PlanTable, locations: usize) -> [usize; 3] {
    let mut kinds = [0; 3];
    for family in Family::ALL {
        for location in 0..locations {
            let (order, _) = table.order(family, LocationId::at(location));
            let ready = table.ready(family, order);
            kinds[ready.kind as usize] += 1;
            match table.reply(family, order) {
                Reply::Split(split, images) if split.shares().len() > 1 => {
                    assert_eq!(ready.kind, ReadyKind::Split);
                    let (lines, first) = table.split(family, ready.index);
                    assert_eq!(lines, split);
                    assert_eq!(images.len(), split.shares().len());
                    let line = |(index, image): (u32, &Arc<Image>)| is_of(table.ready_at(family, first + index), image);
                    assert!((0..).zip(images).all(line));
                }
                Reply::Split(_, images) => assert!(is_of(ready, &images[0])),
                Reply::Set(image) => assert!(is_of(ready, image)),
                Reply::Nodata | Reply::Servfail => assert_eq!(ready.kind, ReadyKind::Slow),
            }
        }
    }
    kinds
}

fn all_agree(world: &World) -> [usize; 3] {
    let snapshot = &world.snapshot;
    let locations = snapshot.parts.geo.locations().len();
    let of = snapshot.services.iter().map(|service| ready_agrees(snapshot.plan(service), locations));
    of.fold([0; 3], |sum, kinds| std::array::from_fn(|kind| sum[kind] + kinds[kind]))
}

#[test]
fn lines_say_what_replies_say() {
    let [whole, split, slow] = all_agree(&SHIPPED);
    assert!(whole > 0 && split > 0 && slow > 0, "{whole} {split} {slow}");
    all_agree(&SHIPPED.without(&["azure-westeurope", "gcp-sydney", "aws-virginia"]));
    let names: Vec<&str> = SHIPPED.snapshot.parts.config.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
    all_agree(&SHIPPED.without(&names));
}

#[test]
fn long_images_and_failures_are_left_to_the_slow_path() {
    let many: Vec<String> = (10..14).map(|n| format!("\"198.51.100.{n}\"")).collect();
    let addresses = format!("addresses = [{}]", many.join(", "));
    let four = www_with("endpoints = [\"fra\", \"ams\"]\ntie = \"100ms\"", &[("fra", &addresses)]);
    let [_, split, _] = all_agree(&four);
    assert!(split > 0);
    let none = www("when_none = \"servfail\"").without(&["ams", "fra", "dub", "lon", "iad", "sea", "sin", "syd"]);
    let [whole, split, slow] = all_agree(&none);
    assert!(whole == 0 && split == 0 && slow > 0);
}
