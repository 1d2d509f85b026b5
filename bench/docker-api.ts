import { request } from 'node:http';
import { dockerSocket } from './world.ts';

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The Docker Engine API through one client, as a program would use it: no command line in between. */
function call(method: string, path: string, body?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const client = request({ socketPath: dockerSocket, method, path, headers }, (response) => {
      let answer = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        answer += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: answer }));
    });
    client.on('error', reject);
    client.end(text);
  });
}

async function must(method: string, path: string, body?: unknown): Promise<string> {
  const answer = await call(method, path, body);
  if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${answer.body}`);
  return answer.body;
}

/** create, start, wait, remove, on the default bridge. */
export async function dockerRun(image: string, command: readonly string[]): Promise<void> {
  const { Id: id } = JSON.parse(await must('POST', '/containers/create', { Image: image, Cmd: command })) as {
    Id: string;
  };
  await must('POST', `/containers/${id}/start`);
  await must('POST', `/containers/${id}/wait`);
  await must('DELETE', `/containers/${id}`);
}
