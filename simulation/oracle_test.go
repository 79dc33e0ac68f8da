package simulation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/guard"
)

// oracle checks the world against the twelve invariants.
type oracle struct {
	w        *world
	versions []*version // what readers of the conf file found, one after the other
	safe     []*version // what a power cut would have left of it
	seen     []byte     // the conf file when it was looked at last
	sure     []byte
	ours     map[string]bool // names that were in the file at any time
	lost     map[string]bool // those that were in a file that a person removed
	read     map[*daemon]*version
	had      map[*daemon][]holding // what each daemon went by, one after the other
	blocks   map[string]block      // that were read before, by their text
	buried   map[string]time.Time  // who left traffic dead
	pardoned time.Time             // since when what is gone counts: before, a person or a power cut changed the file
}

// version is one state of the conf file.
type version struct {
	conf
	text    string
	at      time.Time
	traffic map[string]string // who gets traffic: "service address", and the registries that it comes from
	size    map[string]int    // of each service
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, ours: map[string]bool{}, lost: map[string]bool{}, read: map[*daemon]*version{}, had: map[*daemon][]holding{}, blocks: map[string]block{},
		buried: map[string]time.Time{},
	}
}

func (o *oracle) now() *version {
	if len(o.versions) == 0 {
		return nil
	}
	return o.versions[len(o.versions)-1]
}

// version parses the file's text, or returns the earlier version with the same text. shard returns a shard by name.
func (o *oracle) version(text []byte, shard func(name string) []byte) (*version, error) {
	for _, v := range slices.Backward(o.versions[max(0, len(o.versions)-3):]) {
		if v.text == string(text) {
			if err := whole(v, shard); err != nil {
				return nil, err
			}
			again := *v
			again.at = time.Now()
			return &again, nil
		}
	}
	v := &version{text: string(text), at: time.Now(), traffic: map[string]string{}, size: map[string]int{}}
	if len(text) == 0 {
		return v, nil
	}
	var err error
	if v.conf, err = readConf(v.text, shard, o.blocks); err != nil {
		return nil, err
	}
	if now := o.now(); now != nil && now.digest == v.digest { // it has the same blocks
		v.upstream, v.traffic, v.size = now.upstream, now.traffic, now.size
		return v, nil
	}
	if err := v.routed(); err != nil {
		return nil, err
	}
	for name, b := range v.upstream {
		for _, e := range b.servers {
			if !e.down {
				v.traffic[name+" "+e.addr] = e.origin
				v.size[name]++
			}
		}
	}
	return v, nil
}

func (o *oracle) refuse(err error, otherwise int, format string, a ...any) {
	var f *flaw
	if errors.As(err, &f) {
		otherwise = f.invariant
	}
	o.w.fail(otherwise, "%s: %s", fmt.Sprintf(format, a...), err)
}

// reads records that a daemon uses the current file: it has loaded or written it.
func (o *oracle) reads(d *daemon) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	v, before := o.now(), o.read[d]
	if o.read[d] = v; v == nil || v == before {
		return
	}
	o.had[d] = append(o.had[d], holding{v, time.Now()})
	if before != nil && v.writer != before.writer && v.number > 0 && d.syncer != nil {
		o.w.tallies["a daemon takes over what another process wrote"]++
	}
}

// holding is the version that a daemon uses, and since when.
type holding struct {
	*version
	since time.Time
}

// generation returns a daemon's last generation with that number; another daemon may have a different one.
func (o *oracle) generation(d *daemon, number int) *version {
	for _, h := range slices.Backward(o.had[d]) {
		if h.number == number {
			return h.version
		}
	}
	return nil
}

// lately returns what a daemon may be delivering: its version now, and those it had when a running delivery may have begun.
func (o *oracle) lately(d *daemon) []holding {
	had := o.had[d]
	i := len(had) - 1
	for i > 0 && time.Since(had[i].since) < longestDelivery {
		i--
	}
	return had[max(0, i):]
}

// overtaken returns what another process wrote after everything that a daemon uses, or nil.
func (o *oracle) overtaken(d *daemon) *version {
	now, read := o.now(), o.read[d]
	if now == nil || read == nil || now.number == 0 || now.at.Equal(time.Now()) || now.digest == read.digest {
		return nil
	}
	later := now.number > read.number || now.number == read.number && now.writer != read.writer
	if now.writer == d.writer() || !later {
		return nil
	}
	return now
}

// forgive excuses changes that no daemon made: by a person, or by a power cut.
func (o *oracle) forgive() {
	v, err := o.version(o.w.disk.visible(), o.w.disk.shard)
	if err != nil {
		o.refuse(err, 3, "after a power cut, or a hand, the conf file is not whole")
		return
	}
	if now := o.now(); now == nil || now.text != v.text {
		o.pardoned = time.Now()
	}
	o.take(v)
}

func (o *oracle) take(v *version) {
	o.versions = append(o.versions, v)
	o.seen = o.w.disk.visible()
	for name := range v.upstream {
		o.ours[name] = true
		for _, n := range o.w.front {
			delete(n.strange, name)
			delete(n.excused, name)
		}
	}
}

// replaced checks the conf file that a daemon has just written.
func (o *oracle) replaced(d *daemon) {
	v, err := o.version(o.w.disk.visible(), o.w.disk.shard)
	if err != nil {
		o.refuse(err, 3, "what %s has written is not whole", d.name)
		return
	}
	before := o.now()
	o.take(v)
	o.w.count("write")
	seen := o.read[d]
	o.reads(d)
	if before == nil || before.number == 0 {
		o.bereft(v, seen)
		return
	}
	o.older(before, v)
	switch {
	case v.text == before.text:
		o.w.fail(8, "%s writes what is there already", d.name)
	case v.digest == before.digest:
		return
	case v.number <= before.number:
		o.w.fail(11, "%s writes generation %d over generation %d", d.name, v.number, before.number)
	case before.writer != v.writer && (seen == nil || seen.digest != before.digest && seen.number <= before.number):
		o.w.fail(11, "%s writes over generation %d of another process, which it has not read", d.name, before.number)
	}
	o.w.count("generation")
	if len(v.shards) > 0 != (len(before.shards) > 0) {
		o.w.count("the conf file takes another form")
	}
	o.bury(before, v, d)
	o.w.after(prompt, "", func() { o.arrived(d, v) })
	newest := o.newest(before)
	o.keepsFrozen(newest, v, d)
	if d.orders > 0 {
		o.pardoned = time.Now()
		return
	}
	if newest != before && newest.digest == v.digest {
		return // it was judged when it was written first
	}
	o.judge(before, v, d)
	o.judgeRoutes(before, v, d)
}

const (
	// prompt is the time limit for a generation to reach every worker of a healthy gateway, whatever the state of others.
	prompt = 3 * time.Second
	// settled is the time limit for a gateway that has recovered, including the retry.
	settled = 20 * time.Second
)

// arrived checks that a generation has reached the gateways in time.
func (o *oracle) arrived(d *daemon, v *version) {
	now := o.now()
	if d != o.w.daemon || d.ctx.Err() != nil || time.Since(d.began) < settled || now.number != v.number || o.w.quarrels() {
		return
	}
	for _, n := range o.w.front {
		if !n.isWell() || time.Since(n.well) < settled {
			continue
		}
		o.w.count("a generation that has to be there by now")
		for _, name := range slices.Sorted(maps.Keys(v.upstream)) {
			if !n.everywhere(post{name, v.upstream[name]}) {
				o.w.fail(4, "generation %d was written %s ago, and %s, which is well, has another %s", v.number, prompt, n.name, name)
			}
		}
	}
}

func (o *oracle) keepsFrozen(before, v *version, d *daemon) {
	if d.orders > 0 {
		return
	}
	for _, name := range v.frozen {
		if !slices.Contains(before.frozen, name) {
			continue
		}
		for other := range before.upstream {
			if name == "*" || name == other {
				if before.upstream[other].full != v.upstream[other].full {
					o.w.fail(2, "%s changes upstream %s, which is frozen", d.name, other)
				}
			}
		}
	}
}

// look runs all checks after a turn.
func (o *oracle) look() {
	if o.w.disk.fails != nil {
		o.w.disk.failed = time.Now()
	}
	if seen := o.w.disk.visible(); !same(seen, o.seen) {
		o.seen = seen
		v, err := o.version(seen, o.w.disk.shard)
		if err != nil {
			o.refuse(err, 3, "a reader finds a conf file that is not whole")
			return
		}
		if now := o.now(); now != nil && now.text != v.text {
			o.w.fail(3, "the conf file has changed in place")
			return
		}
	}
	if sure := o.w.disk.safe(); !same(sure, o.sure) {
		o.sure = sure
		v, err := o.version(sure, o.w.disk.safeShard)
		if err != nil {
			o.refuse(err, 3, "a power cut would leave a conf file that is not whole")
			return
		}
		o.safe = append(o.safe, v)
	}
	if now := o.now(); now != nil && now.text == string(o.seen) {
		if err := whole(now, o.w.disk.shard); err != nil {
			o.refuse(err, 3, "a shard of the conf file goes")
			return
		}
	}
	if last := len(o.safe) - 1; last >= 0 {
		if err := whole(o.safe[last], o.w.disk.safeShard); err != nil {
			o.refuse(err, 3, "a power cut would take a shard of the conf file")
			return
		}
	}
	for d := range o.w.daemons() {
		if d.syncer != nil && d.asked {
			d.asked = false
			o.believes(d)
		}
	}
}

// whole returns an error unless all shards of a version exist.
func whole(v *version, shard func(name string) []byte) error {
	for _, name := range v.shards {
		if len(shard(name)) == 0 {
			return isShard(name, nil)
		}
	}
	return nil
}

func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// believes compares a daemon's view of its gateways with their workers.
func (o *oracle) believes(d *daemon) {
	st := d.syncer.Status()
	for i, g := range st.Gateways {
		a := d.adapters[i]
		if g.Checked.Equal(d.checked[g.Name]) {
			continue
		}
		d.checked[g.Name] = g.Checked
		if !g.InSync {
			continue
		}
		o.w.count("in sync")
		v := o.generation(d, g.Generation)
		if a.touched != a.n.touched || !g.Checked.Equal(time.Now()) {
			continue // somebody else changed it while it was read
		}
		if a.verified != o.w.trace.lines-1 && a.verified != o.w.trace.lines || v == nil {
			continue // it goes by what it was shown before
		}
		for _, w := range a.n.workers {
			for name, b := range v.upstream {
				if (a.names == nil || a.names[name]) && !(post{name, b}).shown(w.has) {
					o.w.fail(4, "%s says that %s is in sync with generation %d, and worker %d shows another %s: %q, not %q", d.name, g.Name, g.Generation, w.pid, name, w.has.blocks[name].full, b.full)
				}
			}
		}
	}
}

// posts checks what a daemon sends to an nginx.
func (o *oracle) posts(a *adapter, p post) {
	o.w.count("post")
	d, n := a.d, a.n
	_, own := n.own[p.name]
	since, strange := n.strange[p.name]
	switch {
	case own:
		o.w.fail(5, "%s changes upstream %s of nginx.conf on %s", d.name, p.name, n.name)
	case !o.ours[p.name]:
		o.w.fail(5, "%s changes upstream %s on %s, which was never in the conf file", d.name, p.name, n.name)
	case strange && a.looked.After(since):
		o.w.fail(5, "%s changes upstream %s on %s, which a person put there", d.name, p.name, n.name)
	}
	if len(o.versions) == 0 {
		o.w.fail(3, "%s tells %s of %s before anything was written", d.name, n.name, p.name)
		return
	}
	if _, wanted := o.now().upstream[p.name]; o.w.other != nil && !p.gone() && !wanted {
		o.w.count("a quarrel: a gateway hears of the older plan")
		n.excused[p.name] = true // nobody will know whose it was
	}
	agrees := func(v *version) bool {
		b, there := v.upstream[p.name]
		return there != p.gone() && (p.gone() || b.seen(n.routed) == p.to.seen(n.routed))
	}
	last := len(o.safe) - 1
	switch at := slices.IndexFunc(o.safe, agrees); {
	case at < 0:
		o.w.fail(3, "%s tells %s of %s what is not safe on the disk: %s", d.name, n.name, p.name, p.to.full)
	case a.older != nil:
		o.w.fail(11, "%s tells %s of %s after it could see that %s had written generation %d", d.name, n.name, p.name, a.older.writer, a.older.number)
	case !slices.ContainsFunc(o.lately(d), func(h holding) bool { return agrees(h.version) }):
		o.w.fail(11, "%s tells %s of %s what it does not go by", d.name, n.name, p.name)
	case o.w.quarrels(): // a delivery that has begun ends with what it began with
	case !d.heard() && !agrees(o.safe[last]):
		o.w.fail(10, "%s has heard of no registry and tells %s of %s another thing than the conf file says", d.name, n.name, p.name)
	case !slices.ContainsFunc(o.safe[max(0, o.recent(d)):], agrees):
		o.w.fail(11, "%s tells %s of %s what an older generation had", d.name, n.name, p.name)
	}
	// Two competing daemons send the gateways things that the other can't know.
	if !o.w.quarrels() && a.pids != nil && a.touched == n.touched && !a.failed && !a.behind && n.everywhere(p) {
		o.w.fail(8, "%s tells %s of %s what all of its workers show", d.name, n.name, p.name)
	}
	if strange && !p.gone() {
		delete(n.strange, p.name)
	}
}

// recent returns the index of the first safe version that may still be on its way to a gateway.
func (o *oracle) recent(d *daemon) int {
	limit := time.Now().Add(-longestDelivery)
	i := len(o.safe) - 1
	for i > 0 && o.safe[i].at.After(limit) {
		i--
	}
	return i
}

// longestDelivery limits a delivery that has begun: a handful of hanging calls.
const longestDelivery = time.Minute

func (d *daemon) heard() bool {
	return slices.ContainsFunc(d.sources, func(s *source) bool { return s.said != nil })
}

// comesBack records removed upstreams that a new worker has, because it loaded them when they were ours. A daemon that
// confirmed the removal knows that they are ours; one that starts later can't know, and leaves them alone.
func (o *oracle) comesBack(n *nginx, w *worker) {
	now := o.now()
	if now == nil {
		return
	}
	for name := range w.has.blocks {
		_, wanted := now.upstream[name]
		if _, own := n.own[name]; own || wanted || !o.ours[name] {
			continue
		}
		n.excused[name] = true
	}
}

// begins records a daemon's start. If a person has removed the conf file, nothing says any more what is ours.
func (o *oracle) begins() {
	if len(o.w.disk.visible()) > 0 {
		return
	}
	for _, n := range o.w.front {
		for _, w := range n.workers {
			for name := range w.has.blocks {
				if _, own := n.own[name]; !own {
					n.excused[name] = true
				}
			}
		}
	}
}

// takenAway records that a person removes the conf file.
func (o *oracle) takenAway() {
	for name := range o.now().upstream {
		o.lost[name] = true
	}
}

// bereft is the first file after that, by a daemon that had seen another one before. Of what had stood in the lost one
// nothing says any more that it is ours, unless that daemon still knows.
func (o *oracle) bereft(v, seen *version) {
	for name := range o.lost {
		_, still := v.upstream[name]
		if seen != nil {
			_, known := seen.upstream[name]
			still = still || known
		}
		for _, n := range o.w.front {
			n.excused[name] = n.excused[name] || !still
		}
	}
	clear(o.lost)
}

// newest is the newest version until another one was written: that one, unless it is an older plan that came there because
// a person had taken the newer one away.
func (o *oracle) newest(at *version) *version {
	newest := at
	for _, other := range o.versions {
		if other.number > newest.number && other.at.Before(at.at) {
			newest = other
		}
	}
	return newest
}

// older is a file that takes the place of another process's older plan, which came there because a person had taken the
// newer one away: what stood in that plan alone may have reached a gateway, and nothing says any more that it is ours.
func (o *oracle) older(before, v *version) {
	if o.newest(before) == before || before.writer == v.writer {
		return
	}
	for name := range before.upstream {
		if _, still := v.upstream[name]; still {
			continue
		}
		o.w.count("an older plan was brought back")
		for _, n := range o.w.front {
			n.excused[name] = true
		}
	}
}

// explains checks that everything in or out has a reason that a person can query.
func (o *oracle) explains(d *daemon) {
	now := o.now()
	if d == nil || d.syncer == nil || now == nil || o.w.disk.fails != nil || o.w.quarrels() {
		return
	}
	st := d.syncer.Status()
	if st.StoreErr != nil || st.Generation.Number != now.number {
		return
	}
	if time.Since(o.pardoned) < slack || d.orders > 0 || time.Since(d.ordered) < slack {
		return // a person has just changed the file, by a rollback say, and nothing was decided since
	}
	out, kept := map[string]bool{}, map[string]bool{}
	for e := range st.Out.All() {
		out[e.Upstream+" "+e.Addr] = !e.Reason.IsZero()
	}
	add := func(to map[string]bool, ids []guard.ServerID) {
		for _, id := range ids {
			to[id.Upstream+" "+id.Addr.String()] = true
		}
	}
	for _, h := range slices.Concat(st.Holds, st.OnTrial) {
		add(out, h.KeptOut)
		add(kept, h.Removed)
	}
	listed, all := map[string]bool{}, true
	for _, s := range d.sources {
		if s.said == nil {
			all = false
			continue
		}
		switch heard := s.Condition().Heard; {
		case time.Since(heard) < slack:
			return // it may not have decided yet
		case now.writer != d.writer() && heard.Before(now.at):
			return // what another process has written is newer than what the registry said, and it says nothing since
		}
		for service, instances := range s.said {
			for addr, is := range instances {
				key := service + " " + addr
				_, in := now.traffic[key]
				listed[key] = listed[key] || is == usable
				if !in && !out[key] && !out[service+" "] {
					o.w.fail(9, "%s is out, and nobody says why", key)
				}
			}
		}
	}
	o.explainsRoutes(d, st)
	stays := map[string]bool{}
	add(stays, st.Stays)
	frozen := func(name string) bool {
		return slices.Contains(now.frozen, "*") || slices.Contains(now.frozen, name)
	}
	unserved := map[string]bool{}
	for _, u := range st.Unserved {
		unserved[u.Upstream] = true
	}
	for key := range now.traffic {
		name, _, _ := strings.Cut(key, " ")
		if all && !listed[key] && !frozen(name) && (!stays[key] || !kept[key] && !out[key] && !unserved[name]) {
			o.w.fail(9, "%s gets traffic although no registry lists it as usable, and nobody says why", key)
		}
	}
}

// leftovers returns our upstreams that nginx should no longer have.
func (o *oracle) leftovers(n *nginx) []string {
	now := o.now()
	left := map[string]bool{}
	for _, w := range n.workers {
		for name := range w.has.blocks {
			_, wanted := now.upstream[name]
			_, own := n.own[name]
			_, strange := n.strange[name]
			if !wanted && !own && !strange && !n.excused[name] && o.ours[name] {
				left[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(left))
}
