"""Tests of cofferdam.py and cofferdam_labels.py against the real monitor.

Run by ../monitor_test.go, which says whom it has: each connection to the socket
alice or bob is a new instance of that service.
"""

import os
import threading
import unittest

import cofferdam as cd

DIR = os.environ.get("COFFERDAM_TEST_MONITOR", "")
SECRET = cd.Label("alice %% True")
BOTH = cd.Label("alice & bob %% True")


@unittest.skipUnless(DIR, "COFFERDAM_TEST_MONITOR is not set: monitor_test.go sets it")
class TestMonitor(unittest.TestCase):
    def start(self, service):
        os.environ[cd.SOCKET_VARIABLE] = os.path.join(DIR, service)
        client = cd.connect()
        self.addCleanup(client.close)
        return client

    def setUp(self):
        self.alice, self.bob = self.start("alice"), self.start("bob")

    def meanwhile(self, do, *args, **kwargs):
        """Runs do on another thread and returns what gives its result."""
        out = []
        t = threading.Thread(target=lambda: out.append(do(*args, **kwargs)))
        t.start()

        def result():
            t.join(60)
            self.assertFalse(t.is_alive(), "stuck")
            return out[0]

        return result

    def test_states(self):
        me = self.alice.labels()
        self.assertEqual((me.label, me.clearance, me.owns, me.handles), (cd.Label(), BOTH, cd.Formula("alice"), []))
        with self.assertRaisesRegex(cd.LabelError, "clearance"):
            self.bob.raise_("carol %% True")
        self.bob.set_clearance(SECRET)
        with self.assertRaisesRegex(cd.LabelError, "clearance"):
            self.bob.set_clearance(BOTH)
        self.bob.raise_(SECRET)
        with self.assertRaisesRegex(cd.LabelError, "you own True"):
            self.bob.lower("True %% True", out="alice")
        self.assertEqual(self.bob.labels().label, SECRET)
        self.alice.raise_(SECRET)
        self.alice.lower(cd.Label(), out="alice")
        self.assertEqual(self.alice.labels().label, "True %% True")

    def test_shared(self):
        os.environ[cd.SOCKET_VARIABLE] = os.path.join(DIR, "alice")
        self.addCleanup(lambda: cd._client.close())
        self.assertEqual(cd.labels().owns, '"alice"')
        with cd.seal(SECRET, b"data") as value:
            self.assertEqual(value.unseal(out="alice"), b"data")

    def test_values(self):
        value = self.bob.seal(SECRET, b"data")
        with self.assertRaisesRegex(cd.LabelError, "raise your label"):
            value.unseal()
        self.assertEqual(value.label(), SECRET)
        higher = value.taint("bob %% True")
        with self.assertRaisesRegex(cd.LabelError, "old"):
            value.relabel("True %% True")
        self.bob.mailbox("letters").post(b"see", handles=[value, higher])
        self.bob.drop(value, higher)
        with self.assertRaises(cd.Denied):
            value.unseal()
        letters = self.alice.mailbox("letters")
        with self.assertRaisesRegex(cd.LabelError, "raise your label"):
            letters.recv()
        m = letters.recv(out="alice")
        self.assertEqual((m.data, m.label, m.sender.service, len(m.handles)), (b"see", SECRET, "bob", 2))
        self.assertEqual(m.handles[0].value().relabel("True %% True", out="alice").unseal_label(), (b"data", "True %% True"))
        with self.assertRaisesRegex(cd.LabelError, "bob"):
            m.handles[1].value().unseal(out="alice")
        self.assertEqual(m.handles[1].value().unseal(out="alice", raise_=True), b"data")
        self.assertEqual(self.alice.labels().label, cd.Label("bob %% True"))

    def test_mailboxes(self):
        jobs, inbox = self.alice.mailbox("jobs"), self.bob.mailbox("inbox")
        jobs.put(b"first")
        for about, error, do in (
            ("nothing in the time", cd.Empty, lambda: inbox.recv(timeout=0.02)),
            ("nothing now", cd.Empty, lambda: inbox.recv(timeout=0)),
            ("no room now", cd.Busy, lambda: jobs.put(b"second", timeout=0)),
            ("the mailbox of another", cd.Denied, lambda: self.alice.mailbox("inbox").recv()),
            ("no grant", cd.Denied, lambda: self.bob.mailbox("jobs").put()),
            ("no such mailbox", cd.Denied, lambda: self.bob.mailbox("nothing").post()),
            ("a value", cd.Denied, lambda: self.alice.seal(SECRET).mailbox().recv()),
        ):
            with self.subTest(about), self.assertRaises(error):
                do()
        put = self.meanwhile(jobs.put, b"second")
        self.assertEqual([self.bob.mailbox("jobs").take().data for _ in range(2)], [b"first", b"second"])
        put()

        box = self.bob.new_mailbox("True %% True")
        self.bob.mailbox("letters").post(handles=[box])
        theirs = self.alice.mailbox("letters").recv(out="alice").handles[0].mailbox()
        received = self.meanwhile(lambda: [m.data for m, _ in zip(box, range(1))])
        theirs.post(b"hello")
        theirs.post(b"again")
        self.assertEqual(received(), [b"hello"])
        with self.assertRaisesRegex(cd.LabelError, "handle of a mailbox"):
            theirs.recv()

    def test_privileges(self):
        with self.assertRaisesRegex(cd.LabelError, "own"):
            self.bob.delegate("alice")
        p = self.alice.delegate("alice | bob")
        self.assertEqual(p.formula(), cd.Formula("bob | alice"))
        self.alice.mailbox("inbox").post(handles=[p])
        self.assertEqual(len(self.bob.mailbox("inbox").recv().handles), 1)
        self.assertEqual(self.bob.labels().owns, cd.Formula("bob | alice"))
        p.revoke()
        self.assertEqual(self.bob.labels().owns, "True")

    def test_capsules(self):
        seal, other = self.alice.new_seal(), self.alice.new_seal()
        capsule = seal.sealer.seal("True %% True", b"data")
        self.alice.mailbox("inbox").post(handles=[capsule, seal.tester, other.unsealer])
        theirs, tester, unsealer = self.bob.mailbox("inbox").recv().handles
        with self.assertRaises(cd.Denied):
            theirs.label()
        self.assertIs(tester.tester().authenticate(theirs.capsule()), True)
        self.assertIs(unsealer.unsealer().authenticate(theirs.capsule()), False)
        for h in (tester, unsealer):
            with self.assertRaises(cd.Denied):
                h.unsealer().unseal(theirs.capsule())
        self.assertEqual(seal.unsealer.unseal(capsule), b"data")

    def test_children(self):
        value = self.alice.seal(SECRET, b"data")
        program = ("import cofferdam, os; me = cofferdam.labels()\n"
                   "print(me.label, me.owns, len(me.handles), me.handles[0].value().unseal().decode(), sep='; ', end='')")
        with self.alice.start("reader", SECRET, args=[program], label=SECRET, clearance=SECRET, handles=[value], gives=["alice"]) as result:
            with self.assertRaisesRegex(cd.LabelError, "raise your label"):
                result.wait()
            exit = result.wait(out="alice")
        self.assertEqual((exit.cause, exit.code, exit.stdout, exit.stderr), ("exit", 0, b'"alice" %% True; "alice"; 2; data', b""))
        with self.assertRaisesRegex(cd.LabelError, "clearance"):
            self.alice.start("reader", "True %% True", label="False %% True")
        above = self.alice.start("reader", "True %% True", args=["import cofferdam; cofferdam.raise_('bob %% True')"], clearance="bob %% True")
        with self.assertRaises(cd.Withheld):
            above.wait()
        endless = self.alice.start("reader", "True %% True", args=["import time; time.sleep(1000)"])
        with self.assertRaises(cd.Empty):
            endless.wait(timeout=0)
        endless.kill()
        self.assertEqual(endless.wait().cause, "signal")
        self.assertEqual(self.alice.spawn("reader", args=["print(7)"]).stdout, b"7\n")

    def test_gate(self):
        self.alice.raise_(SECRET)
        for body, want in ((b"", b"false"), (b"alice's", b"true")):
            self.assertEqual(self.alice.gate("vault.known", "alice", body), want)
        for client, shown, why in ((self.alice, "alice | bob", "shown"), (self.bob, "alice", "you own True"), (self.bob, None, "shown")):
            with self.assertRaisesRegex(cd.LabelError, why):
                client.gate("vault.known", shown)

    def test_calls(self):
        seen = []

        def echo(caller, body):
            seen.append((caller.service, caller.shown, caller.label, len(caller.handles)))
            if caller.handles:
                caller.give_away(self.bob.seal("True %% True", caller.handles[0].value().unseal().upper()))
            return body

        def serve():
            try:
                self.bob.serve({"echo": echo})
            except cd.Interrupted:
                pass

        served = self.meanwhile(serve)
        value = self.alice.seal("True %% True", b"data")
        reply = self.alice.call_with("bob.echo", b"body", timeout=60, shown="alice", handles=[value])
        self.assertEqual((reply.body, reply.label, [h.value().unseal() for h in reply.handles]), (b"body", "True %% True", [b"DATA"]))
        self.assertEqual(self.alice.call("bob.echo", b"plain", timeout=60), b"plain")
        self.alice.raise_(SECRET)
        with self.assertRaisesRegex(cd.LabelError, "label"):
            self.alice.call("bob.echo")
        self.assertEqual(self.alice.call_json("bob.echo", [1], timeout=60, out="alice"), [1])
        self.assertEqual(seen, [("alice", '"alice"', "True %% True", 1), ("alice", "True", "True %% True", 0), ("alice", "True", "True %% True", 0)])
        self.bob._sock.shutdown(2)
        served()


if __name__ == "__main__":
    unittest.main()
