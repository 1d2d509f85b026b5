import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export interface Certificates {
  /** PEM files. `server` is for 127.0.0.1 and localhost, `client` for a client; all signed by `ca`. */
  readonly ca: string;
  readonly server: { readonly certificate: string; readonly key: string };
  readonly client: { readonly certificate: string; readonly key: string };
}

/** A certificate authority of a test's own, made by openssl in `dir`. */
export async function makeCertificates(dir: string): Promise<Certificates> {
  const at = (name: string): string => join(dir, name);
  const openssl = async (...args: string[]): Promise<unknown> => execute('openssl', args);
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl(
    ...['req', '-x509', ...newKey, '-days', '2', '-subj', '/CN=keelson test authority'],
    ...['-keyout', at('ca.key'), '-out', at('ca.crt')],
  );
  const issue = async (name: string, extensions: string): Promise<{ certificate: string; key: string }> => {
    await writeFile(at(`${name}.ext`), extensions);
    await openssl('req', ...newKey, '-subj', `/CN=${name}`, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`));
    await openssl(
      ...['x509', '-req', '-in', at(`${name}.csr`), '-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial'],
      ...['-days', '2', '-extfile', at(`${name}.ext`), '-out', at(`${name}.crt`)],
    );
    return { certificate: at(`${name}.crt`), key: at(`${name}.key`) };
  };
  return {
    ca: at('ca.crt'),
    server: await issue('server', 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n'),
    client: await issue('client', 'extendedKeyUsage=clientAuth\n'),
  };
}
