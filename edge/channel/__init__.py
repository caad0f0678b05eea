"""The channel: releases published as plain files under The Update Framework."""
