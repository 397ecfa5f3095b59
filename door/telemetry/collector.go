package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"cofferdam/numbers"
)

// collector shows a snapshot, which it asks for each time.
type collector struct {
	feed  *numbers.Feed
	all   []numbers.Metric
	descs []*prometheus.Desc // of all, in their order
}

func newCollector(feed *numbers.Feed) *collector {
	c := &collector{feed: feed, all: numbers.Metrics()}
	for _, m := range c.all {
		c.descs = append(c.descs, prometheus.NewDesc(m.Name, m.Help, m.Labels, nil))
	}
	return c
}

func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

func (c *collector) Collect(to chan<- prometheus.Metric) {
	var s numbers.Snapshot
	if err := c.feed.Ask(numbers.WantSnapshot, &s); err != nil {
		to <- prometheus.NewInvalidMetric(c.descs[0], err)
		return
	}
	for i, m := range c.all {
		for one := range m.Samples(&s) {
			metric, err := metricOf(c.descs[i], m.Kind, one)
			if err != nil {
				metric = prometheus.NewInvalidMetric(c.descs[i], err)
			}
			to <- metric
		}
	}
}

func metricOf(d *prometheus.Desc, kind numbers.Kind, s numbers.Sample) (prometheus.Metric, error) {
	switch kind {
	case numbers.KindHistogram:
		below, count := make(map[float64]uint64), uint64(0)
		for i, bound := range numbers.Bounds {
			count += s.Histogram.Buckets[i]
			below[bound.Seconds()] = count
		}
		return prometheus.NewConstHistogram(d, s.Histogram.Count(), s.Histogram.Sum.Seconds(), below, s.Labels...)
	case numbers.KindCounter:
		return prometheus.NewConstMetric(d, prometheus.CounterValue, s.Value, s.Labels...)
	}
	return prometheus.NewConstMetric(d, prometheus.GaugeValue, s.Value, s.Labels...)
}
