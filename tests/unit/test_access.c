// SPDX-License-Identifier: MIT
/*
 * The control groups of the server's access lists.
 */
#include <string.h>

#include "access.h"
#include "check.h"

static const char unified[] = "0::/machine.slice/one.scope\n";
static const char hybrid[] =
	"9:name=systemd:/machine.slice/two\n8:memory:/secret\n0::/elsewhere\n";

int main(void)
{
	CHECK(access_in_cgroup(unified, "/machine.slice"));
	CHECK(access_in_cgroup(unified, "/machine.slice/"));
	CHECK(access_in_cgroup(unified, "/machine.slice/one.scope"));
	CHECK(access_in_cgroup(unified, "/"));
	CHECK(!access_in_cgroup(unified, "/machine"));
	CHECK(!access_in_cgroup(unified, "/machine.slice/one"));
	CHECK(!access_in_cgroup(unified, "/machine.slice/one.scope/below"));
	CHECK(!access_in_cgroup(unified, "/one.scope"));
	CHECK(!access_in_cgroup(unified, "machine.slice"));

	CHECK(access_in_cgroup(hybrid, "/machine.slice"));
	CHECK(access_in_cgroup(hybrid, "/machine.slice/two"));
	CHECK(access_in_cgroup(hybrid, "/elsewhere"));
	CHECK(!access_in_cgroup(hybrid, "/secret"));

	CHECK(!access_in_cgroup("", "/"));
	CHECK(!access_in_cgroup("\n", "/"));
	CHECK(!access_in_cgroup("0", "/"));
	CHECK(!access_in_cgroup("0:", "/"));
	CHECK(!access_in_cgroup("0::", "/a"));
	CHECK(access_in_cgroup("0::/a", "/a"));
	CHECK(!access_in_cgroup("0::/a (deleted)\n", "/a"));
	CHECK(!access_in_cgroup("0::/b\n1:x:0::/a\n", "/a"));
	CHECK(!access_in_cgroup("0::/../a\n", "/a"));
	return 0;
}
