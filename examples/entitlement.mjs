#!/usr/bin/env node
// May this code run? Asks authcoded, and goes by the last lease while authcoded is away.
//
//   node entitlement.mjs CODE                            exit 0 allow, 1 deny, 2 cannot tell
//   node entitlement.mjs --check-lease LEASE JWKS CODE   exit 0 the lease holds, 1 refused
//
// Needs jose (npm install jose). The settings are those of examples/README.md.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createLocalJWKSet, jwtVerify } from 'jose';

const URL_ = process.env.AUTHCODED_URL ?? 'http://127.0.0.1:8652';
const SOCKET = process.env.AUTHCODED_SOCKET;
const TOKEN_FILE = process.env.AUTHCODED_TOKEN_FILE ?? '/etc/authcoded/software-token';
const FOLDER = process.env.AUTHCODED_FOLDER ?? 'authcoded-lease';
const LEASE = path.join(FOLDER, 'lease.jwt');
const KEYS = path.join(FOLDER, 'jwks.json');
const TIMEOUT_MS = 2_000;

const ALLOW = 0;
const DENY = 1;
const CANNOT_TELL = 2;

const read = (file) => readFileSync(file, 'utf8').trim();

async function main(args) {
  if (args.length === 4 && args[0] === '--check-lease') {
    try {
      console.log('allow', await checkLease(read(args[1]), read(args[2]), args[3]));
      return ALLOW;
    } catch (why) {
      console.log(`refused: ${why.message}`);
      return DENY;
    }
  }
  if (args.length === 1) return ask(args[0]);
  console.error('entitlement.mjs CODE | --check-lease LEASE JWKS CODE');
  return CANNOT_TELL;
}

async function ask(code) {
  let answer;
  try {
    answer = JSON.parse(await get(`/v1/entitlements/${encodeURIComponent(code)}`));
    if (!['allow', 'deny'].includes(answer.decision)) throw new Error('no decision in the answer');
  } catch (why) {
    // Neither a yes nor a no: nobody listens, too slow, 5xx, a wrong token.
    return goByTheLease(code, why);
  }
  if (answer.decision === 'deny') {
    rmSync(LEASE, { force: true });
    console.log('deny', answer.reason);
    return DENY;
  }
  try {
    await keep(answer.lease, code);
  } catch (why) {
    console.error(`the lease was not kept: ${why.message}`);
  }
  console.log('allow', answer.reason);
  return ALLOW;
}

async function goByTheLease(code, why) {
  console.error(`no answer from authcoded: ${why.message}`);
  try {
    console.log('allow', await checkLease(read(LEASE), read(KEYS), code), '(lease)');
    return ALLOW;
  } catch (noLease) {
    // Your product's own choice: stop, ask the user for patience, or go on for a day, say.
    console.log(`cannot tell: ${noLease.message}`);
    return CANNOT_TELL;
  }
}

/** Keeps a lease that holds. The key set is fetched when the kept one does not know its key. */
async function keep(lease, code) {
  try {
    await checkLease(lease, read(KEYS), code);
  } catch {
    const keys = await get('/.well-known/jwks.json');
    await checkLease(lease, keys, code);
    store(KEYS, keys);
  }
  store(LEASE, lease);
}

/** The reason that the lease gives, if it holds now, for this code, under one of these keys. */
async function checkLease(lease, keys, code) {
  const { payload, protectedHeader } = await jwtVerify(lease, createLocalJWKSet(JSON.parse(keys)), {
    algorithms: ['EdDSA'], // never the one that the lease names
    issuer: 'authcoded',
    subject: code,
    requiredClaims: ['nbf', 'exp'],
  });
  if (protectedHeader.kid === undefined) throw new Error('it names no key');
  if (payload.decision !== 'allow') throw new Error('it does not allow anything');
  return payload.reason;
}

function get(target) {
  return new Promise((resolve, reject) => {
    const where = new URL(URL_);
    const options = SOCKET
      ? { socketPath: SOCKET }
      : { host: where.hostname, port: where.port, headers: { Authorization: `Bearer ${read(TOKEN_FILE)}` } };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const request = http.get({ ...options, path: target, signal }, async (response) => {
      try {
        let body = '';
        for await (const chunk of response.setEncoding('utf8')) body += chunk;
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`${response.statusCode} ${body}`));
      } catch (broken) {
        reject(broken);
      }
    });
    request.on('error', reject);
  });
}

/** Whole or not at all: a reader never sees half a file. */
function store(file, text) {
  mkdirSync(FOLDER, { recursive: true });
  const fresh = `${file}.${process.pid}`;
  writeFileSync(fresh, text);
  renameSync(fresh, file);
}

process.exitCode = await main(process.argv.slice(2));
