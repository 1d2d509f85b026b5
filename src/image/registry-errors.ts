import { type ErrorCode, KeelsonError } from '../ground/errors.ts';
import { type HttpResponse, readBody } from './http-client.ts';

const maxErrorBytes = 64 << 10;

/** The error for an answer that isn't one that was hoped for; reads its body. `transient` in the details where another attempt may help. */
export async function answerError(
  response: HttpResponse,
  doing: string,
  who: { registry: string; anonymous: boolean },
): Promise<KeelsonError> {
  const { status } = response;
  const said = await saidBy(response);
  const login = `keelson login ${who.registry}`;
  const make = (code: ErrorCode, why: string, transient = false): KeelsonError => {
    const retryAfter = response.headers['retry-after'];
    return new KeelsonError(code, `${doing}: ${why}`, {
      details: { status, ...(said && { reason: said }), transient, ...(retryAfter !== undefined && { retryAfter }) },
    });
  };
  const quoted = said === '' ? '' : `: ${said}`;
  switch (status) {
    case 401:
      return who.anonymous
        ? make(
            'unauthenticated',
            `${who.registry} does not let everyone do that, or has no such repository: try \`${login}\`${quoted}`,
          )
        : make(
            'unauthenticated',
            `${who.registry} refused the stored credentials: renew them with \`${login}\`${quoted}`,
          );
    case 403:
      return make('denied', `${who.registry} refused${quoted}`);
    case 404:
      return make('not-found', `${who.registry} has no such thing${quoted}`);
    case 429:
      return make('unavailable', `${who.registry} asks for fewer requests${said ? quoted : ': toomanyrequests'}`, true);
    default: {
      const name = process.getBuiltinModule('node:http').STATUS_CODES[status] ?? 'unknown status';
      // 408 and 425 invite another attempt as the 5xx do, but for "not implemented".
      const transient = (status >= 500 && status !== 501) || status === 408 || status === 425;
      return make('unavailable', `${who.registry} answered ${status} (${name})${quoted}`, transient);
    }
  }
}

/** What the registry's `errors` array says (distribution-spec, "Error Codes"), on one line; or the text of a short plain body. */
async function saidBy(response: HttpResponse): Promise<string> {
  const body = await readBody(response, maxErrorBytes, 'the error').catch(() => Buffer.alloc(0));
  const text = body.toString('utf8').trim();
  try {
    const { errors } = JSON.parse(text) as { errors?: { code?: unknown; message?: unknown }[] };
    if (Array.isArray(errors)) {
      return clean(
        errors
          .slice(0, 3)
          .map((each) =>
            [each?.code, each?.message].filter((part) => typeof part === 'string' && part !== '').join(': '),
          )
          .join('; '),
      );
    }
  } catch {
    // Not the specification's form.
  }
  return response.headers['content-type']?.startsWith('text/plain') ? clean(text) : '';
}

/** Registries are not trusted with the terminal: control characters become spaces. */
export function clean(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 300);
}
