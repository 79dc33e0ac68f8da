#!/bin/sh
# Before the files come: the account that owns some of them. dpkg and rpm both run this.
set -e
if ! getent passwd swallowkeeper >/dev/null; then
	useradd --system --user-group --home-dir /var/lib/swallowkeeper --no-create-home \
		--shell /usr/sbin/nologin --comment "keeps nginx upstreams in sync" swallowkeeper
fi
