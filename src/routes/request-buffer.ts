import type { Server } from 'node:http';
import { connect } from 'node:net';
import { connect as connectTls, Server as TlsServer } from 'node:tls';

/** Node's own size of the buffer (node_http_parser.cc, kAllocBufferSize). */
const bufferBytes = 64 * 1024;
const giveUpMs = 5000;

/**
 * Node reads the requests of all HTTP servers of a process into one buffer and leaves in it what came last, for as long as no longer
 * request comes. A request to ourselves that fills the buffer with blanks takes a provider key out of it: after an answer to whoever
 * sent one over the listener of calls (test/leak/intake.test.ts). Best effort: where it fails, the next requests do the same.
 *
 * @param server listening on TCP.
 * @returns overwrites it, one request at a time: whoever floods us with refused keys causes no flood of these.
 */
export function requestBufferWiper(server: Server): () => void {
  let [isUnderWay, isWantedAgain] = [false, false];

  function overwrite(): void {
    const place = server.address();
    if (place === null || typeof place === 'string') return;
    if (isUnderWay) {
      isWantedAgain = true;
      return;
    }
    isUnderWay = true;
    const host = place.address === '::' ? '::1' : place.address === '0.0.0.0' ? '127.0.0.1' : place.address;
    const head = `POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${bufferBytes}\r\nconnection: close\r\n\r\n`;
    const onConnect = (): void => {
      // In one write, so that one read of the server takes all of it. TLS brings it in pieces of 16 KiB, as it brought what is overwritten.
      socket.write(head.padEnd(head.length + bufferBytes));
    };
    const target = { host, port: place.port };
    const socket =
      server instanceof TlsServer
        ? // Blanks go out, and nothing of the answer is believed: it does not matter who takes them, or whose name is on the certificate.
          connectTls({ ...target, rejectUnauthorized: false }, onConnect)
        : connect(target, onConnect);
    socket
      .setTimeout(giveUpMs, () => socket.destroy())
      .on('error', () => {})
      // Any answer comes after the read.
      .once('data', () => socket.destroy())
      .once('close', () => {
        isUnderWay = false;
        if (!isWantedAgain) return;
        isWantedAgain = false;
        overwrite();
      })
      .unref();
  }
  return overwrite;
}
