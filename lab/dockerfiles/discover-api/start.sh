#!/bin/bash
# As the script of the image: reads .env as shell, then has supervisord as a child.
set -e
source /home/aikonapi/api/.env
echo "stand-in of discover-api for $INSTALLED_APPS"
supervisord -c /home/aikonapi/supervisord.conf
