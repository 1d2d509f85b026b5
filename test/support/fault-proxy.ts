import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the proxy does with one request instead of passing the registry's answer on as it is. */
export interface Fault {
  /** Answer with this, asking nobody. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Close the line after so many bytes of the answer's body. */
  readonly cutAfter?: number;
  /** Send nothing more after so many bytes of the body, and keep the line open. */
  readonly stallAfter?: number;
  /** Pass on the request without its Range. */
  readonly ignoreRange?: boolean;
  /** Change what the registry sent. */
  readonly rewrite?: (body: Buffer) => Uint8Array;
  /** Headers over those of the registry. */
  readonly setHeaders?: Readonly<Record<string, string>>;
  /** Pass on half of the request's body, then close the line without an answer. */
  readonly drop?: boolean;
  /** Milliseconds before anything happens. */
  readonly delay?: number;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Counts the requests for this method and path, from 1. */
  readonly nth: number;
}

export interface FaultProxy extends AsyncDisposable {
  readonly port: number;
  readonly host: string;
  readonly seen: readonly SeenRequest[];
  /** Asked for every request; may be replaced at any time. */
  fault: (request: SeenRequest) => Fault | undefined;
}

/** A loopback proxy in front of a registry that breaks things as it is told. Uploads' locations are made to lead through it. */
export async function startFaultProxy(target: number): Promise<FaultProxy> {
  const seen: SeenRequest[] = [];
  const server = createServer((incoming, outgoing) => {
    incoming.on('error', () => {});
    outgoing.on('error', () => {});
    const { method = 'GET', url: path = '/' } = incoming;
    const nth = seen.filter((one) => one.method === method && one.path === path).length + 1;
    const one: SeenRequest = { method, path, headers: incoming.headers, nth };
    seen.push(one);
    const fault = proxy.fault(one) ?? {};
    setTimeout(() => serve(incoming, outgoing, target, fault), fault.delay ?? 0);
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const proxy: FaultProxy = {
    port,
    host: `127.0.0.1:${port}`,
    seen,
    fault: () => undefined,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
  return proxy;
}

function serve(incoming: IncomingMessage, outgoing: ServerResponse, target: number, fault: Fault): void {
  if (fault.status !== undefined) {
    incoming.resume();
    outgoing.writeHead(fault.status, fault.headers).end(fault.body);
    return;
  }
  const headers = { ...incoming.headers };
  if (fault.drop) {
    dropped(incoming, outgoing, target);
    return;
  }
  if (fault.ignoreRange) delete headers.range;
  const { method, url } = incoming;
  const upstream = request({ host: '127.0.0.1', port: target, method, path: url, headers }, (answer) => {
    const changed: Record<string, string | string[] | undefined> = { ...answer.headers, ...fault.setHeaders };
    if (fault.rewrite) {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => {
        const body = fault.rewrite?.(Buffer.concat(chunks)) ?? '';
        outgoing.writeHead(answer.statusCode ?? 500, { ...changed, 'content-length': String(body.length) }).end(body);
      });
      return;
    }
    outgoing.writeHead(answer.statusCode ?? 500, changed);
    const limit = fault.cutAfter ?? fault.stallAfter;
    if (limit === undefined) {
      answer.pipe(outgoing);
      return;
    }
    let sent = 0;
    answer.on('data', (chunk: Buffer) => {
      if (sent >= limit) return;
      const part = chunk.subarray(0, limit - sent);
      sent += part.length;
      outgoing.write(part, () => {
        if (sent >= limit && fault.cutAfter !== undefined) outgoing.destroy();
      });
    });
    if (limit === 0 && fault.cutAfter !== undefined) outgoing.destroy();
  });
  upstream.on('error', () => outgoing.destroy());
  outgoing.on('close', () => upstream.destroy());
  incoming.pipe(upstream);
}

function dropped(incoming: IncomingMessage, outgoing: ServerResponse, target: number): void {
  const { method, url: path, headers } = incoming;
  const half = Number(headers['content-length'] ?? 0) / 2;
  const upstream = request({ host: '127.0.0.1', port: target, method, path, headers });
  upstream.on('error', () => {});
  let passed = 0;
  const end = (): void => {
    incoming.destroy();
    outgoing.destroy();
    upstream.destroy();
  };
  if (half === 0) end();
  incoming.on('data', (chunk: Buffer) => {
    passed += chunk.length;
    upstream.write(chunk);
    if (passed >= half) end();
  });
}
