import { open } from 'node:fs/promises';
import path from 'node:path';
import { type Candidate, type CandidateName, type Stage } from './candidate.ts';
import { messageOf, startNode, stop } from './child.ts';
import { featureNames, type FeatureName } from './features.ts';
import { moveDatabase, startGatewayProcess } from './gateway-process.ts';
import { startNginx } from './nginx.ts';

/** Null where it is not installed, or what it needs is not. */
export async function startCandidate(name: CandidateName, stage: Stage): Promise<Candidate | null> {
  const nothing = { name, settle: async () => {} };
  if (name === 'nginx') return startNginx(stage);
  if (name === 'direct')
    return { ...nothing, port: stage.upstreamPort, token: stage.key, pid: null, stop: async () => {} };
  if (name === 'bare') {
    const child = startNode('measured', 'bare.ts', [`http://127.0.0.1:${stage.upstreamPort}`, stage.key]);
    const { port } = await messageOf<{ port: number }>(child);
    return { ...nothing, port, token: 'any', pid: child.pid ?? null, stop: () => stop(child) };
  }
  const feature = featureNames.find((one) => one === name);
  return feature === undefined ? startSallyport(name, stage) : startFeature(feature, stage);
}

async function startSallyport(
  name: CandidateName,
  { upstreamPort, tls, key, folder, profileDir }: Stage,
): Promise<Candidate | null> {
  const isTls = name === 'sallyport-tls';
  if (isTls && tls === null) return null;
  const settings = {
    JOURNAL_SYNC: name === 'sallyport-relaxed' ? 'relaxed' : 'strict',
    SALLYPORT_OPENAI_ORIGIN: isTls ? `https://127.0.0.1:${tls?.port}` : `http://127.0.0.1:${upstreamPort}`,
    ...(isTls ? { NODE_EXTRA_CA_CERTS: tls?.caFile ?? '' } : {}),
  };
  const gateway = await startGatewayProcess({ place: 'measured', name, folder, key, settings, profileDir });
  return { name, ...gateway, settle: gateway.settled };
}

async function startFeature(name: FeatureName, { upstreamPort, key, folder }: Stage): Promise<Candidate> {
  const log = await open(path.join(folder, `${name}.log`), 'w');
  const child = startNode('measured', 'feature-server.ts', [name, String(upstreamPort), folder, key], log.fd);
  await log.close();
  const { port, token } = await messageOf<{ port: number; token: string }>(child);
  moveDatabase(child.pid as number);
  return {
    name,
    port,
    token,
    pid: child.pid ?? null,
    async settle() {
      child.send('ship');
      await messageOf<'shipped'>(child);
    },
    async stop() {
      // Its end is the channel's.
      const exited = child.exitCode === null ? new Promise((resolve) => child.once('exit', resolve)) : null;
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}
