//! The same cities as the server would see their clients: by a real prefix and the GeoIP database.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ipnet::IpNet;
use meridian::geo::{Database, Distinctions, Geo, compile};
use meridian::model::{Location, LocationId};

use crate::tables::City;

/// What the database says of one city's clients.
pub(crate) struct Found {
    pub(crate) location: Location,
    /// The prefix, of 24 bits.
    pub(crate) prefix: IpNet,
    /// From the city's own place.
    pub(crate) km: f64,
}

/// So many networks of a location are looked at: cities that the database does not tell apart have a prefix each.
const FEW: usize = 8;

/// Looks up one prefix a city, another for each: of the networks that the database puts into the city's country, one of those
/// nearest to the city. What the database is wrong about such a network does not show; what was lost in making it compact does.
pub(crate) fn locate(database: &Path, cities: &[City]) -> Result<Vec<Option<Found>>, String> {
    let bytes = std::fs::read(database).map_err(|error| format!("{}: {error}", database.display()))?;
    let database = Database { path: database.to_owned(), bytes: bytes.into() };
    let geo = compile(&[database], &Distinctions::default()).map_err(|problems| format!("{problems:?}"))?;
    let mut networks: HashMap<LocationId, Vec<IpNet>> = HashMap::new();
    for (network, id) in geo.leaves() {
        if matches!(network, IpNet::V4(_)) && network.prefix_len() <= 24 {
            let of_location = networks.entry(id).or_default();
            if of_location.len() < FEW {
                of_location.push(network);
            }
        }
    }
    let mut networks: Vec<(LocationId, Vec<IpNet>)> = networks.into_iter().collect();
    networks.sort_unstable(); // the same one in each run
    let mut taken = HashSet::new();
    Ok(cities.iter().map(|city| locate_city(&geo, &networks, &mut taken, city)).collect())
}

fn locate_city(
    geo: &Geo,
    networks: &[(LocationId, Vec<IpNet>)],
    taken: &mut HashSet<IpNet>,
    city: &City,
) -> Option<Found> {
    let km = |id: LocationId| {
        let location = geo.location(id);
        let inside = location.country == Some(city.country);
        location.coordinates.filter(|_| inside).map(|at| at.distance_km(city.at))
    };
    let free = |network: &IpNet| network.subnets(24).ok()?.find(|prefix| !taken.contains(prefix));
    let near = networks.iter().filter_map(|(id, networks)| Some((km(*id)?, networks.iter().find_map(free)?)));
    let (_, prefix) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
    taken.insert(prefix);
    let id = geo.locate_prefix(prefix.addr(), 24).location;
    Some(Found { location: geo.location(id).clone(), prefix, km: km(id)? })
}
