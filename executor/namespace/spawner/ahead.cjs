// Is what Node.js does before it waits to be somebody's program.
//
// The spawner has it loaded first (--require), in an environment that is nobody's: it loads the modules
// that it is told, and waits, in a system call that the spawner answers. By then descriptors 0, 1 and
// 2 are the program's, and 3 says which arguments and variables it has besides; everything else in the
// environment is its own, too. Node.js goes on to the script by itself, as it would have without this file.
//
// Workers of the program load this file again, and are not meant.
'use strict';

if (process.execArgv[1] === __filename) process.execArgv.splice(0, 2); // what had this file loaded
delete require.cache[__filename];
const list = process.env.COFFERDAM_AHEAD;
if (list !== undefined && require('worker_threads').isMainThread) {
	const fs = require('fs');
	const { createRequire } = require('module');
	delete process.env.COFFERDAM_AHEAD;
	let name = 'wait';
	try {
		const evaluates = process._eval !== undefined;
		const load = createRequire(evaluates ? process.cwd() + '/[eval]' : process.argv[1]);
		for (name of list.split('\n')) {
			if (name) load(name);
		}
		rehearse();
		fs.closeSync(2 ** 31 - 1); // here it waits
	} catch (e) {
		fs.writeSync(2, `\n${name}: ${e}`.split('\n').slice(0, 2).join('\n'));
		process.reallyExit(1);
	}
	const text = fs.readFileSync(3).toString();
	fs.closeSync(3);
	const words = text.split('\0').slice(1, -1);
	const variables = words.splice(parseInt(text));
	process.argv.push(...words);
	for (const name of Object.keys(process.env)) delete process.env[name];
	for (const pair of variables) {
		const at = pair.indexOf('=', 1);
		if (at > 0) process.env[pair.slice(0, at)] = pair.slice(at + 1);
	}
}

// rehearse does what scripts do first, to no effect: what Node.js reads and compiles for that is there then.
function rehearse() {
	require('net');
	require('tty');
	const { Writable } = require('stream');
	const stdout = new Writable({ write: (text, encoding, done) => done() });
	new console.Console({ stdout, colorMode: false }).log('%s', 1, { a: [1] }); // 'auto' would open the real stderr
}
