// A process inside a network namespace of the network tests. Serves its name and the caller's address over TCP and UDP on the ports
// given, and calls others when told to through a unix socket: one JSON command a connection, one JSON answer.
//   network-agent.mjs NAME SOCKET [PORT…]
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const [name, control, ...ports] = process.argv.slice(2);
const answer = (address) => `${name} sees ${address.replace(/^::ffff:/, '')}`;

const listening = [];
for (const port of ports.map(Number)) {
  for (const [host, type] of [
    ['0.0.0.0', 'udp4'],
    ['::', 'udp6'],
  ]) {
    const tcp = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(answer(socket.remoteAddress ?? '?'));
    });
    tcp.listen({ host, port, ipv6Only: host === '::' });
    const udp = createSocket({ type, ipv6Only: host === '::' });
    udp.on('message', (_, from) => udp.send(answer(from.address), from.port, from.address));
    udp.bind(port, host);
    listening.push(once(tcp, 'listening'), once(udp, 'listening'));
  }
}

await Promise.all(listening);

function call({ protocol, host, port, from, timeoutMs = 1500 }) {
  return new Promise((resolve) => {
    const end = (text) => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => {});
      if (protocol === 'tcp') socket.destroy();
      else socket.close();
      resolve(text);
    };
    const timer = setTimeout(() => end('ETIMEDOUT'), timeoutMs);
    let socket;
    if (protocol === 'tcp') {
      let text = '';
      socket = connect({ host, port });
      socket.setEncoding('utf8').on('data', (chunk) => (text += chunk));
      socket.on('end', () => end(text));
    } else {
      socket = createSocket(host.includes(':') ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
      socket.on('message', (message) => end(message.toString()));
      if (from !== undefined) socket.bind(from);
      socket.connect(port, host, (error) => (error ? end(error.code) : socket.send('hello')));
    }
    socket.on('error', (error) => end(error.code));
  });
}

createServer((socket) => {
  let text = '';
  socket.on('error', () => {});
  socket.setEncoding('utf8').on('data', async (chunk) => {
    text += chunk;
    if (!text.endsWith('\n')) return;
    socket.end(JSON.stringify(await call(JSON.parse(text))));
  });
}).listen(control);
