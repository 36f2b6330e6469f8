"""Writes two small MaxMind DB files into a folder: a country and a network for 10.0.0.0/8."""

import pathlib
import sys

from mmdb_writer import MMDBWriter
from netaddr import IPSet

folder = pathlib.Path(sys.argv[1])
documents = {
    "country.mmdb": ("Test-Country", {"country": {"iso_code": "ZZ"}}),
    "asn.mmdb": (
        "Test-ASN",
        {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Networks"},
    ),
}
for name, (kind, record) in documents.items():
    writer = MMDBWriter(ip_version=4, database_type=kind, int_type="uint32")
    writer.insert_network(IPSet(["10.0.0.0/8"]), record)
    writer.to_db_file(str(folder / name))
