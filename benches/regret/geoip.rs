//! The same cities as the server would see their clients: by a real prefix and the GeoIP database.

use std::collections::HashMap;
use std::path::Path;

use ipnet::IpNet;
use meridian::geo::{Database, Geo, compile};
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

/// Looks up one prefix a city: of the networks that the database puts into the city's country, one of those nearest to
/// the city. What the database is wrong about such a network does not show; what was lost in making it compact does.
pub(crate) fn locate(database: &Path, cities: &[City]) -> Result<Vec<Option<Found>>, String> {
    let bytes = std::fs::read(database).map_err(|error| format!("{}: {error}", database.display()))?;
    let database = Database { path: database.to_owned(), bytes: bytes.into() };
    let geo = compile(&[database], &[], &[], &[]).map_err(|problems| format!("{problems:?}"))?;
    let mut networks: HashMap<LocationId, IpNet> = HashMap::new();
    for (network, id) in geo.leaves() {
        if matches!(network, IpNet::V4(_)) && network.prefix_len() <= 24 {
            networks.entry(id).or_insert(network);
        }
    }
    let mut networks: Vec<(LocationId, IpNet)> = networks.into_iter().collect();
    networks.sort_unstable(); // the same one in each run
    Ok(cities.iter().map(|city| locate_city(&geo, &networks, city)).collect())
}

fn locate_city(geo: &Geo, networks: &[(LocationId, IpNet)], city: &City) -> Option<Found> {
    let km = |id: LocationId| {
        let location = geo.location(id);
        let inside = location.country == Some(city.country);
        location.coordinates.filter(|_| inside).map(|at| at.distance_km(city.at))
    };
    let near = networks.iter().filter_map(|(id, network)| Some((km(*id)?, network)));
    let (_, network) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let prefix = IpNet::new_assert(network.network(), 24);
    let id = geo.locate_prefix(prefix.addr(), 24).location;
    Some(Found { location: geo.location(id).clone(), prefix, km: km(id)? })
}
