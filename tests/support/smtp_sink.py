"""A mail server that does as it is told and keeps nothing.

Arguments: one word for each message in the order of arrival, the last one for all that follow:
`ok`, `cut` (takes the message and ends the connection without a word), or an SMTP status such as
451. Prints its port, then each message that it took as a line of JSON.
"""

import asyncio
import json
import sys

from aiosmtpd.smtp import SMTP


class Sink:
    def __init__(self, script):
        self.script = script

    async def handle_DATA(self, server, session, envelope):
        word = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if word.isdigit():
            return f"{word} as I was told"
        message = {"to": envelope.rcpt_tos, "data": envelope.content.decode("latin-1")}
        print(json.dumps(message), flush=True)
        if word == "cut":
            server.transport.abort()
        return "250 taken"


async def main():
    sink = Sink(sys.argv[1:] or ["ok"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(sink), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with whoever started it.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
