/** node:test's events as JSON lines, one for each test, for the host to read. */
import { inspect } from 'node:util';

export interface GuestResult {
  /** Names of the suites and of the test. */
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Of a failure: the error. Of a skip: why. */
  readonly text: string;
  readonly seconds: number;
}

interface Event {
  readonly type: string;
  readonly data: {
    readonly name: string;
    readonly nesting: number;
    readonly skip?: string | boolean;
    readonly details: { readonly duration_ms: number; readonly type?: string; readonly error?: Error };
  };
}

export default async function* reporter(events: AsyncIterable<Event>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details.type === 'suite' && type === 'test:pass') continue;
    const error = data.details.error;
    const result: GuestResult = {
      name: data.name,
      outcome: type === 'test:fail' ? 'failed' : data.skip === undefined ? 'passed' : 'skipped',
      text: error ? inspect(error.cause ?? error, { depth: 3 }) : typeof data.skip === 'string' ? data.skip : '',
      seconds: data.details.duration_ms / 1000,
    };
    yield `${JSON.stringify(result)}\n`;
  }
}
