# shellcheck shell=bash disable=SC2154 # sourced by `run`, which sets what is not set here
# The zone, and each server with its settings. README.md says why each is as it is.

declare -A port=() pid=() admin=()
# All that run, in the order of the tables.
instances=()
zone=bench.example
database=$root/geoip/city.mmdb
# Sites, regions and the address that each answers with.
sites=(us eu ap)
declare -A region=([us]=us-east-1 [eu]=eu-central-1 [ap]=ap-southeast-1)
declare -A site_address=([us]=192.0.2.10 [eu]=198.51.100.20 [ap]=203.0.113.30)

# Latitude and longitude of a site, as Meridian itself has them.
coordinates() { awk -F, -v region="${region[$1]}" '$1 == "aws" && $2 == region { print $5, $6 }' "$root/src/model/data/regions.csv"; }

# `COUNTRY SITE` lines: the site next to the middle of each country's people. For servers that know
# countries but not distances.
countries() {
  local site where=()
  for site in "${sites[@]}"; do where+=("$site $(coordinates "$site")"); done
  awk -F, -v where="$(IFS=';'; echo "${where[*]}")" '
    function rad(x) { return x * atan2(0, -1) / 180 }
    function hav(x) { return sin(x / 2) ^ 2 }
    BEGIN { sites = split(where, site, ";") }
    NR > 1 {
      least = 2
      for (i = 1; i <= sites; i++) {
        split(site[i], part, " ")
        h = hav(rad($4 - part[2])) + cos(rad($4)) * cos(rad(part[2])) * hav(rad($5 - part[3]))
        if (h < least) { least = h; nearest = part[1] }
      }
      print $1, nearest
    }' "$root/src/model/data/countries.csv"
}

# What all have: the apex, name servers, 1,000 static names; no address for www.
write_zone() {
  cat <<ZONE
\$ORIGIN $zone.
\$TTL 300
@ SOA ns1 hostmaster 1 7200 900 1209600 300
@ NS ns1
@ NS ns2
ns1 A 192.0.2.53
ns2 A 198.51.100.53
ZONE
  awk 'BEGIN { for (i = 0; i < 1000; i++) printf "s%03d A 192.0.2.%d\n", i, i % 200 + 20 }'
}

# The labels n00000 to n99999.
names() { awk 'BEGIN { for (i = 0; i < 100000; i++) printf "n%05d\n", i }'; }

# Starts the command behind NAME on the servers' core and remembers it. Should `run` be killed outright,
# the kernel ends it.
start() {
  local name=$1
  shift
  setpriv --pdeathsig TERM taskset -c "$server_core" "${ahead[@]}" "$@" >"$temp/$name.log" 2>&1 &
  pid[$name]=$!
}

# Waits until it answers; shows its log where it does not.
await() {
  local name
  for name in "$@"; do
    # shellcheck disable=SC2046
    "$tool" wait --seconds 180 $(servers "$name") && continue
    tail -n 20 "$temp/$name.log" >&2
    give_up "$name did not start"
  done
}

# ---------------------------------------------------------------------------------------------------

start_echo() { start "$1" "$tool" echo --listen "127.0.0.1:${port[$1]}"; }

# $2: the labels of steered names, one a line.
start_meridian() {
  local name=$1 labels=$2 folder=$temp/$1 site
  admin[$name]=off
  [ -z "$estimates" ] || admin[$name]=127.0.0.1:$("$tool" ports --count 1)
  mkdir -p "$folder"
  write_zone >"$folder/$zone.zone"
  {
    cat <<CONFIG
[server]
listen = ["127.0.0.1:${port[$name]}"]
state = "state"
workers = 1
tcp_client_queries = 1_000_000_000
tcp_client_octets = "100GB"
[admin]
listen = "${admin[$name]}"
[rate_limit]
allow = ["127.0.0.0/8"]
[geoip]
databases = ["$database"]
[[zones]]
name = "$zone"
file = "$zone.zone"
CONFIG
    for site in "${sites[@]}"; do
      cat <<CONFIG
[[endpoints]]
name = "$site"
cloud = "aws"
region = "${region[$site]}"
addresses = ["${site_address[$site]}"]
CONFIG
    done
    awk -v zone="$zone" '{ printf "[[services]]\nname = \"%s.%s\"\nendpoints = [\"*\"]\n", $1, zone }' <<<"$labels"
  } >"$folder/config.toml"
  start "$name" "$MERIDIAN" serve --config "$folder/config.toml" --strict
}

start_gdnsd() {
  local name=$1 labels=$2 folder=$temp/$1 site at
  mkdir -p "$folder"/{etc/zones,run,state}
  {
    write_zone
    awk '{ printf "%s 20 DYNA geoip!sites\n", $1 }' <<<"$labels"
  } >"$folder/etc/zones/$zone"
  {
    cat <<CONFIG
options => {
  listen => [ 127.0.0.1:${port[$name]} ]
  udp_threads => 1
  tcp_threads => 1
  edns_client_subnet => true
  run_dir => $folder/run
  state_dir => $folder/state
}
plugins => { geoip => {
  maps => { world => {
    geoip2_db => $database
    datacenters => [ us, eu, ap ]
    auto_dc_coords => {
CONFIG
    for site in "${sites[@]}"; do
      at=$(coordinates "$site")
      echo "$site => [ ${at/ /, } ]"
    done
    echo "} } } resources => { sites => { map => world, service_types => up, dcmap => {"
    for site in "${sites[@]}"; do echo "$site => ${site_address[$site]}"; done
    echo "} } } } }"
  } >"$folder/etc/config"
  start "$name" gdnsd -c "$folder/etc" start
}

start_knot() {
  local name=$1 folder=$temp/$1
  mkdir -p "$folder"/{run,db}
  # The module answers where the database has the address; for the rest the zone does.
  { write_zone; echo "www 20 A ${site_address[us]}"; } >"$folder/$zone.zone"
  {
    echo "www.$zone:"
    countries | while read -r country site; do
      printf -- '  - geo: %s\n    A: %s\n' "$country" "${site_address[$site]}"
    done
    printf -- '  - geo: "*"\n    A: %s\n' "${site_address[us]}"
  } >"$folder/geo.conf"
  cat >"$folder/knot.conf" <<CONFIG
server:
    listen: 127.0.0.1@${port[$name]}
    rundir: "$folder/run"
    user: $(id -un):$(id -gn)
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    edns-client-subnet: on
database:
    storage: "$folder/db"
log:
  - target: stderr
    any: warning
mod-geoip:
  - id: sites
    config-file: "$folder/geo.conf"
    ttl: 20
    mode: geodb
    geodb-file: "$database"
    geodb-key: country/iso_code
zone:
  - domain: $zone
    file: "$folder/$zone.zone"
    module: mod-geoip/sites
CONFIG
  start "$name" knotd -c "$folder/knot.conf"
}

start_nsd() {
  local name=$1 folder=$temp/$1
  mkdir -p "$folder"
  { write_zone; echo "www 20 A ${site_address[us]}"; } >"$folder/$zone.zone"
  cat >"$folder/nsd.conf" <<CONFIG
server:
  ip-address: 127.0.0.1@${port[$name]}
  username: "$(id -un)"
  chroot: ""
  zonesdir: "$folder"
  database: ""
  pidfile: "$folder/pid"
  zonelistfile: "$folder/zone.list"
  xfrdfile: "$folder/xfrd.state"
  xfrdir: "$folder"
  logfile: "$folder/log"
  server-count: 1
  minimal-responses: yes
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: $zone
  zonefile: "$zone.zone"
CONFIG
  start "$name" nsd -d -c "$folder/nsd.conf"
}

start_pdns() {
  local name=$1 folder=$temp/$1
  mkdir -p "$folder"/{run,etc}
  {
    cat <<CONFIG
domains:
- domain: $zone
  ttl: 300
  records:
    $zone:
    - soa: ns1.$zone hostmaster.$zone 1 7200 900 1209600 300
    - ns: ns1.$zone
    - ns: ns2.$zone
    ns1.$zone:
    - a: 192.0.2.53
    ns2.$zone:
    - a: 198.51.100.53
CONFIG
    write_zone | awk -v zone="$zone" '/^s[0-9]/ { printf "    %s.%s:\n    - a: %s\n", $1, zone, $3 }'
    countries | while read -r country site; do
      printf '    %s.place.%s:\n    - a: {content: %s, ttl: 20}\n' "${country,,}" "$zone" "${site_address[$site]}"
    done
    printf '    unknown.place.%s:\n    - a: {content: %s, ttl: 20}\n' "$zone" "${site_address[us]}"
    cat <<CONFIG
  services:
    www.$zone: [ '%cc.place.$zone', 'unknown.place.$zone' ]
CONFIG
  } >"$folder/zones.yaml"
  cat >"$folder/etc/pdns.conf" <<CONFIG
launch=geoip
geoip-zones-file=$folder/zones.yaml
geoip-database-files=mmdb:$database
local-address=127.0.0.1
local-port=${port[$name]}
socket-dir=$folder/run
receiver-threads=1
distributor-threads=1
signing-threads=1
retrieval-threads=1
edns-subnet-processing=yes
cache-ttl=60
query-cache-ttl=60
negquery-cache-ttl=60
log-dns-queries=no
loglevel=3
security-poll-suffix=
CONFIG
  start "$name" pdns_server --config-dir="$folder/etc" --daemon=no --guardian=no --disable-syslog --write-pid=no
}

# ---------------------------------------------------------------------------------------------------

start_all() {
  local peer name left=()
  instances=(echo echo-again)
  for peer in meridian gdnsd knot nsd pdns; do
    has "$only" $peer || continue
    [ $peer = meridian ] || is_there $peer || { left+=("$peer"); continue; }
    instances+=("$peer")
    case $peer in meridian|gdnsd) ! has "$sets" names || instances+=("$peer-names") ;; esac
  done
  [ ${#left[@]} -eq 0 ] || echo "not installed, left out: ${left[*]}"
  local ports=()
  mapfile -t ports < <("$tool" ports --count ${#instances[@]})
  for name in "${instances[@]}"; do
    port[$name]=${ports[0]}
    ports=("${ports[@]:1}")
    case $name in
      echo*) start_echo "$name" ;;
      *-names) "start_${name%-names}" "$name" "$(names)" ;;
      *) "start_$name" "$name" www ;;
    esac
  done
  await "${instances[@]}"
}

# Round trips of 70,000 random prefixes to the first two sites, four of each, for those of Meridian's that run.
measure_prefixes() {
  local name tries told table=$temp/round-trips.csv
  awk -v one="aws/${region[${sites[0]}]}" -v other="aws/${region[${sites[1]}]}" 'BEGIN {
    srand(7)
    for (n = 0; n < 70000; n++) {
      prefix = sprintf("%d.%d.%d.0/24", 1 + int(rand() * 222), int(rand() * 256), int(rand() * 256))
      near = 5 + int(rand() * 300); far = 5 + int(rand() * 300)
      for (k = 0; k < 4; k++) printf "%s,%s,%d\n%s,%s,%d\n", prefix, one, near, prefix, other, far
    }
  }' >"$table"
  for name in meridian meridian-names; do
    [ -n "${pid[$name]:-}" ] || continue
    "$MERIDIAN" latency import "$table" --server "http://${admin[$name]}"
    for tries in $(seq 600); do
      told=$(curl -s "http://${admin[$name]}/status" | sed -n 's/.*"derived_locations": \([0-9]*\).*/\1/p')
      [ "${told:-0}" -lt 50000 ] || break
      [ "$tries" -lt 600 ] || give_up "$name: estimates of ${told:-no} prefixes only, after a minute"
      sleep 0.1
    done
    echo "$name goes by estimates of $told prefixes"
  done
}

# The instances, other than the echo, that are asked with a set.
having() {
  local name
  for name in meridian gdnsd knot nsd pdns meridian-names gdnsd-names; do
    [ -n "${pid[$name]:-}" ] || continue
    case $1:$name in
      names:*-names) echo "$name" ;;
      names:*|*:*-names) ;;
      *) echo "$name" ;;
    esac
  done
}

# A process and all below it.
family() {
  local child
  echo "$1"
  # shellcheck disable=SC2013 # words are wanted
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do family "$child"; done
}

stop_all() {
  local all=() name each tries
  for name in "${!pid[@]}"; do mapfile -t -O ${#all[@]} all < <(family "${pid[$name]}"); done
  [ ${#all[@]} -gt 0 ] || return 0
  kill -TERM "${pid[@]}" 2>/dev/null || true
  for tries in $(seq 100); do
    local alive=()
    for each in "${all[@]}"; do ! kill -0 "$each" 2>/dev/null || alive+=("$each"); done
    [ ${#alive[@]} -gt 0 ] || break
    [ "$tries" -lt 100 ] || kill -KILL "${alive[@]}" 2>/dev/null || true
    sleep 0.1
  done
  wait "${pid[@]}" 2>/dev/null || true
  pid=()
}

versions() {
  local peer version
  ! has "$only" meridian || printf 'meridian  %s\n' "$("$MERIDIAN" --version)"
  for peer in gdnsd knot nsd pdns; do
    { has "$only" $peer && is_there $peer; } || continue
    version=$(dpkg-query -W -f '${Version}' "${packages[$peer]%% *}" 2>/dev/null || echo unknown)
    printf '%-9s %s\n' "$peer" "$version"
  done
}
