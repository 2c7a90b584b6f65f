package cloudtest

import (
	"context"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A Behaviour is what a revision does with its requests. The zero of it answers all of
// them at once.
type Behaviour struct {
	Errors float64 // the ratio of 5xx
	P95    time.Duration
	Silent bool // no request arrives, though the traffic says so
}

// Load gives a service so many requests a minute, from the beginning of time on.
func (c *Cloud) Load(service string, perMinute int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads[service] = load{perMinute: perMinute}
}

// LoadUntil is Load of a service that has nothing to do from a time on.
func (c *Cloud) LoadUntil(service string, perMinute int64, end time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads[service] = load{perMinute, end}
}

type load struct {
	perMinute int64
	until     time.Time // zero: for ever
}

// Behave says what a revision does with its requests.
func (c *Cloud) Behave(revision string, b Behaviour) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behaviours[revision] = b
}

// invisible is for how long the newest metrics are not shown yet.
const invisible = 3 * time.Minute

type metrics struct {
	monitoringpb.UnimplementedMetricServiceServer
	cloud *Cloud
}

var (
	filter = regexp.MustCompile(`^metric\.type = "([^"]+)" AND resource\.type = "cloud_run_revision" ` +
		`AND resource\.labels\.location = "` + Region + `" AND resource\.labels\.service_name = one_of\(([^)]*)\)$`)
	quotedName = regexp.MustCompile(`"([^"]+)"`)
)

// ListTimeSeries knows the two queries of a rollout, each added up over the whole
// interval.
func (m metrics) ListTimeSeries(_ context.Context, r *monitoringpb.ListTimeSeriesRequest) (*monitoringpb.ListTimeSeriesResponse, error) {
	parts := filter.FindStringSubmatch(r.GetFilter())
	if parts == nil || r.GetName() != "projects/"+Project {
		return nil, status.Errorf(codes.InvalidArgument, "%s: filter %s", r.GetName(), r.GetFilter())
	}
	from, to := r.GetInterval().GetStartTime().AsTime(), r.GetInterval().GetEndTime().AsTime()
	period := r.GetAggregation().GetAlignmentPeriod().AsDuration()
	if period < time.Minute || period != to.Sub(from).Truncate(time.Second) || r.GetAggregation().GetPerSeriesAligner() != monitoringpb.Aggregation_ALIGN_DELTA {
		return nil, status.Errorf(codes.InvalidArgument, "aligned over %s of %s", period, to.Sub(from))
	}
	by := r.GetAggregation().GetGroupByFields()
	revisions := []string{"resource.label.service_name", "resource.label.revision_name"}
	reduce := r.GetAggregation().GetCrossSeriesReducer()
	counts := parts[1] == "run.googleapis.com/request_count" && reduce == monitoringpb.Aggregation_REDUCE_SUM &&
		slices.Equal(by, append(revisions, "metric.label.response_code_class"))
	latencies := parts[1] == "run.googleapis.com/request_latencies" && reduce == monitoringpb.Aggregation_REDUCE_PERCENTILE_95 &&
		slices.Equal(by, revisions)
	if !counts && !latencies {
		return nil, status.Errorf(codes.InvalidArgument, "%s by %s of %v", parts[1], reduce, by)
	}
	m.cloud.mu.Lock()
	defer m.cloud.mu.Unlock()
	if latest := m.cloud.now().Add(-invisible); to.After(latest) {
		to = latest
	}
	answer := &monitoringpb.ListTimeSeriesResponse{}
	for _, name := range quotedName.FindAllStringSubmatch(parts[2], -1) {
		answer.TimeSeries = append(answer.TimeSeries, m.cloud.seriesOf(name[1], from, to, counts)...)
	}
	return answer, nil
}

func (c *Cloud) seriesOf(name string, from, to time.Time, counts bool) (all []*monitoringpb.TimeSeries) {
	s := c.services[name]
	if s == nil {
		return nil
	}
	add := func(revision, class string, value *monitoringpb.TypedValue) {
		series := &monitoringpb.TimeSeries{
			Metric:   &metricpb.Metric{Labels: map[string]string{}},
			Resource: &monitoredrespb.MonitoredResource{Type: "cloud_run_revision", Labels: map[string]string{"service_name": name, "revision_name": revision}},
			Points: []*monitoringpb.Point{{
				Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(from), EndTime: timestamppb.New(to)}, Value: value,
			}},
		}
		if class != "" {
			series.Metric.Labels["response_code_class"] = class
		}
		all = append(all, series)
	}
	got := s.requests(c.loads[name], from, to)
	for _, revision := range slices.Sorted(maps.Keys(got)) {
		b := c.behaviours[revision]
		n := int64(got[revision])
		if n == 0 || b.Silent {
			continue
		}
		if !counts {
			add(revision, "", &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: float64(b.P95) / float64(time.Millisecond)}})
			continue
		}
		failed := int64(math.Round(float64(n) * b.Errors))
		for class, count := range map[string]int64{"2xx": n - failed, "5xx": failed} {
			if count > 0 {
				add(revision, class, &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: count}})
			}
		}
	}
	return all
}

// requests shares a service's requests of a time among its revisions, by the traffic of
// each minute. Before the service was made its first revision had them all.
func (s *service) requests(l load, from, to time.Time) map[string]float64 {
	got := map[string]float64{}
	if !l.until.IsZero() && l.until.Before(to) {
		to = l.until
	}
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		minutes := min(time.Minute, to.Sub(at)).Minutes()
		shares := s.history[0].percent
		for _, h := range s.history {
			if !h.at.After(at) {
				shares = h.percent
			}
		}
		for revision, percent := range shares {
			got[revision] += float64(l.perMinute) * minutes * float64(percent) / 100
		}
	}
	return got
}
