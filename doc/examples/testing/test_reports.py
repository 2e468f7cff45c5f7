from reports import ReportOffice
from twisted.trial.unittest import SynchronousTestCase

from ganeti_pool.testing import makeSteppingPool


class ReportOfficeTests(SynchronousTestCase):
    def setUp(self):
        self.written = []
        self.pool, self.stepping, self.reactor = makeSteppingPool()
        self.office = ReportOffice(self.pool, self.write)

    def write(self, title):
        self.written.append(title)
        return f"report: {title}"

    def test_urgentFirst(self):
        """
        An urgent report is written before one that was ordered earlier.
        """
        self.office.order("sales")
        self.office.order("fire", urgent=True)
        self.assertTrue(self.stepping.step())
        self.assertEqual(self.written, ["fire"])

    def test_report(self):
        """
        The report arrives on the reactor's next turn.
        """
        report = self.office.order("sales")
        self.stepping.runAll()
        self.assertNoResult(report)
        self.reactor.run()
        self.assertEqual(self.successResultOf(report), "report: sales")

    def test_withdrawn(self):
        """
        A report that is withdrawn in time is not written.
        """
        report = self.office.order("sales")
        self.office.withdraw("sales")
        self.assertFalse(self.stepping.step())
        self.reactor.run()
        self.assertIsNone(self.successResultOf(report))

    def test_shutdown(self):
        """
        A report that was not begun when the process ends does not arrive, and nobody
        waits for it in vain.
        """
        report = self.office.order("sales")
        self.reactor.stop()
        self.reactor.run()
        self.assertIsNone(self.successResultOf(report))
        self.assertEqual(self.written, [])
