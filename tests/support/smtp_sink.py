"""A mail server that does as it is told and keeps nothing.

Arguments: one word for each message in the order of arrival, the last one for all that follow:
`ok`, `cut` (takes the message and ends the connection without a word), or an SMTP status such as
451. Before them may stand `starttls FOLDER` (nothing is taken before TLS) or `tls FOLDER` (TLS from the
first byte), with cert.pem and key.pem in the folder. Prints its port, then each message that it took as
a line of JSON, with the version of TLS that it came by.
"""

import asyncio
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP


class Sink:
    def __init__(self, script):
        self.script = script

    async def handle_DATA(self, server, session, envelope):
        word = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if word.isdigit():
            return f"{word} as I was told"
        tls = server.transport.get_extra_info("ssl_object")
        message = {
            "to": envelope.rcpt_tos,
            "data": envelope.content.decode("latin-1"),
            "tls": tls.version() if tls else None,
        }
        print(json.dumps(message), flush=True)
        if word == "cut":
            server.transport.abort()
        return "250 taken"


async def main():
    script = sys.argv[1:]
    kind, context = None, None
    if script[:1] in (["starttls"], ["tls"]):
        kind, folder, *script = script
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pathlib.Path(folder) / "cert.pem", pathlib.Path(folder) / "key.pem")
    sink = Sink(script or ["ok"])
    loop = asyncio.get_running_loop()
    if kind == "starttls":
        make, wrapped = lambda: SMTP(sink, tls_context=context, require_starttls=True), None
    else:
        make, wrapped = lambda: SMTP(sink), context
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=wrapped)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with whoever started it.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
