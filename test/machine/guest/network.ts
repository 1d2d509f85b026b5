import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestEngine } from './engine-fixture.ts';

test('containers on the bridge reach each other, and are reached through published ports', async () => {
  await using it = await guestEngine();
  const id = await it.start(['sh', '-c', 'echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp'], {
    network: 'bridge',
    ports: [{ hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
  });
  const { network } = await it.engine.inspect(it.context, id);
  const get = async (url: string): Promise<string> => {
    for (let turn = 0; ; turn++) {
      try {
        return await (await fetch(url)).text();
      } catch (error) {
        if (turn === 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  assert.equal(await get(`http://${network.ip}/`), 'hello\n');
  assert.equal(await get('http://127.0.0.1:8080/'), 'hello\n');
  const { text } = await it.run(['wget', '-q', '-O', '-', `http://${network.ip}/`], { network: 'bridge' });
  assert.equal(text, 'hello\n');
});

test('without a network there is loopback alone; with the host’s there is the host’s', async () => {
  await using it = await guestEngine();
  const links = 'ls /sys/class/net | tr "\\n" " "';
  assert.equal((await it.run(['sh', '-c', links], { network: 'none' })).text, 'lo ');
  const host = (await it.run(['sh', '-c', 'readlink /proc/self/ns/net'], { network: 'host' })).text;
  const none = (await it.run(['sh', '-c', 'readlink /proc/self/ns/net'], { network: 'none' })).text;
  assert.match(host, /^net:/);
  assert.notEqual(host, none);
});
